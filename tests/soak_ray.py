"""Inverts avatars on a Ray cluster of two nodes: `tests/soak_ray.py PART [COUNT]`.

bucket    shards in an emulated bucket; the driver is killed; the same call finishes
cluster   one node is killed in the middle, then the driver; the same call finishes
overhead  a local Ray of two actors against one process with two devices
memory    resident memory of an actor from unit to unit

It needs the extra "ray", and "dev" for buckets. It prints each result. Each part
inverts COUNT avatars (default: 2000) with the bundled model, in a temporary folder.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

COUNT, NODE = 2000, dict(num_cpus=1, object_store_memory=100 * 2**20)


def avatars(folder, count):
    """Writes avatars to a folder; more than there are get several names."""
    from styleprompter_jax.data.sources import TfdsSource
    from styleprompter_jax.images.files import write_image

    source = TfdsSource("avatars/64", "train", None)
    folder.mkdir()
    for k in range(count):
        name = folder / f"{k:06}.png"
        if k < 2000:
            write_image(source[k]["image"], name)
        else:
            os.link(folder / f"{k % 2000:06}.png", name)


def call(images, out, *more):
    """Starts the command."""
    command = [sys.executable, "-m", "styleprompter_jax", "invert", "--engine", "ray"]
    command += ["--model", "avatars64", "--input", str(images), "--output", str(out)]
    return subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True)


def shards_in(out):
    """The complete shards."""
    return [path for path in out.glob("*.parquet") if not path.name.startswith(".")]


def wait_for(out, count, running):
    """Waits until there are `count` shards."""
    while len(shards_in(out)) < count and running.poll() is None:
        time.sleep(0.2)


def names_in(out):
    """How often each image is in the shards."""
    from styleprompter_jax.store.shards import read_shard

    return Counter(name for path in shards_in(out) for name in read_shard(path)[1])


def cluster(images, out, count):
    """Kills a node and the driver."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args=NODE)
    other = nodes.add_node(**NODE)
    units = -(-count // 128)
    address = ["--address", nodes.address]
    try:
        driver = call(images, out, *address)
        wait_for(out, units // 4, driver)
        nodes.remove_node(other, allow_graceful=False)
        print(f"node killed with {len(shards_in(out))} shards")
        wait_for(out, units // 2, driver)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        before = set(shards_in(out))
        print(f"driver killed with {len(before)} shards")
        nodes.add_node(**NODE)
        second = call(images, out, *address)
        print(second.communicate()[0].strip())
        third = call(images, out, *address)
        print(third.communicate()[0].strip())
    finally:
        nodes.shutdown()
    found = names_in(out)
    assert len(found) == count and set(found.values()) == {1}, len(found)
    assert before <= set(shards_in(out))
    print(f"{len(found)} images, each once, in {len(shards_in(out))} shards")


ALONE = """
import sys, time
from pathlib import Path
from styleprompter_jax.app import engine_ray
from styleprompter_jax.app.decoding import Decoding
from styleprompter_jax.store.shard_folder import shard_folder
images, out = map(Path, sys.argv[1:])
plan = engine_ray.make_plan(
    "avatars64", shard_folder(out), features=False, optimize=0, input_kind=None,
    decoding=Decoding(), format="png", skip_bad=False,
)
worker, found = engine_ray.Worker(plan), engine_ray._sources([images], out)
for k in range(0, len(found), engine_ray.UNIT):
    worker({"sources": found[k : k + engine_ray.UNIT]})
"""


def rate(out):
    """Images a second, from the first complete shard to the last."""
    times = sorted(path.stat().st_mtime for path in shards_in(out))
    return (len(times) - 2) * 128 / (times[-1] - times[1])


def overhead(images, out, count):
    """Times Ray and one process in turn."""
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
    for turn in range(2):
        start = time.monotonic()
        alone = [sys.executable, "-c", ALONE, images, out / f"one{turn}"]
        subprocess.run(alone, check=True, env=env)
        middle = time.monotonic()
        print(call(images, out / f"ray{turn}").communicate()[0].strip())
        end = time.monotonic()
        one, ray = rate(out / f"one{turn}"), rate(out / f"ray{turn}")
        print(
            f"one process {one:.1f} images/s ({middle - start:.0f} s with start), "
            f"Ray {ray:.1f}/s ({end - middle:.0f} s with start): {one / ray - 1:+.1%}"
        )


def resident():
    """Resident bytes of each actor, by process."""
    found = {}
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if b"ray::" in (process / "cmdline").read_bytes()[:5]:
                pages = int((process / "statm").read_text().split()[1])
                found[process.name] = pages * os.sysconf("SC_PAGE_SIZE")
    return found


def memory(images, out, count):
    """Prints the largest resident memory of an actor as shards are written."""
    running, units = call(images, out), -(-count // 128)
    for part in range(1, 11):
        wait_for(out, part * units // 10, running)
        most = max(resident().values(), default=0)
        print(f"{len(shards_in(out))} shards: {most / 2**20:.0f} MiB", flush=True)
    print(running.communicate()[0].strip())


def bucket(images, out, count):
    """Kills the driver of a call that writes to a bucket, for each kind of bucket."""
    import emulators

    from styleprompter_jax.core import buckets

    for kind in emulators.KINDS:
        with emulators.running(kind, out / kind) as emulator:
            address = buckets.parse(f"{emulator.address}/out")
            driver, units = call(images, address), -(-count // 128)

            def there(address=address):
                found = buckets.listing(address)
                return [name for name in found if name.endswith(".parquet")]

            while len(there()) < units // 3 and driver.poll() is None:
                time.sleep(0.2)
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            print(f"{kind}: driver killed with {len(there())} shards")
            print(call(images, address).communicate()[0].strip().splitlines()[-1])
            for name in there():
                buckets.download(address / name, out / f"{kind}-{name}")
        found = names_in(out)
        assert len(found) == count and set(found.values()) == {1}, len(found)
        print(f"{kind}: {len(found)} images, each once")
        for path in shards_in(out):
            path.unlink()


def main(part, count=COUNT):
    """Runs a part."""
    # Otherwise Ray's processes starve on a busy machine.
    os.environ.update(RAY_worker_niceness="0")
    with tempfile.TemporaryDirectory() as place:
        images, out = Path(place, "images"), Path(place, "out")
        avatars(images, int(count))
        out.mkdir()
        parts = (bucket, cluster, overhead, memory)
        {work.__name__: work for work in parts}[part](images, out, int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
