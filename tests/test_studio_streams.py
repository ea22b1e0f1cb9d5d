"""Requests to the studio that last: streams of events, and uploads."""

import threading
import time

import anyio
import httpx
from studio_user import HERE, LIMITS, png

from styleprompter_jax.web.jobs import Job
from styleprompter_jax.web.limits import Limits
from styleprompter_jax.web.server import make_app


def watched(server, user):
    """A client, and a job of it that runs until the test ends it, with its path."""
    clients = server.app.app.state.studio.clients
    client = clients.find(user.headers["Authorization"].removeprefix("Bearer "))
    job = Job(1)
    job.state = "running"
    return client, job, f"/api/jobs/{clients.keep(client, job, 0)}/events"


def asynchronous(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE)


def test_who_watches_a_job_is_not_forgotten(server, user, monkeypatch):
    clients, now = server.app.app.state.studio.clients, [time.monotonic()]
    monkeypatch.setattr(clients, "_clock", lambda: now[0])
    client, job, path = watched(server, user)
    watching = threading.Thread(target=user.ask, args=("GET", path))
    watching.start()
    try:
        for _ in range(3):
            now[0] += 0.9 * LIMITS.idle_seconds
            for _ in range(100):  # until the stream checks the job again
                if client.seen == now[0]:
                    break
                time.sleep(0.05)
            clients.expire()
        assert client in clients._known.values() and job.state == "running"
    finally:
        job.state = "done"
        watching.join()


def test_a_stream_of_events_is_one_of_the_requests(server, user):
    _, job, path = watched(server, user)

    async def run():
        async with asynchronous(server.app) as client:

            async def sample():
                return await client.post("/api/sample", json={}, headers=user.headers)

            async with anyio.create_task_group() as group:
                for _ in range(LIMITS.waiting_each):
                    group.start_soon(lambda: client.get(path, headers=user.headers))
                await anyio.sleep(0.3)
                refused = await sample()
                job.state = "done"
            assert refused.status_code == 429
            assert (await sample()).status_code == 200

    anyio.run(run)


def test_uploads_count_until_they_are_read(model):
    photo = png(200, 200)
    app = make_app(model, limits=Limits(bodies=len(photo) * 3 // 2))

    async def run():
        async with asynchronous(app) as client:
            made = await client.post("/api/clients")
            key = {"Authorization": f"Bearer {made.json()['client']}"}
            statuses = []

            async def upload():
                answer = await client.post("/api/pictures", content=photo, headers=key)
                statuses.append(answer.status_code)

            async with anyio.create_task_group() as group:
                for _ in range(2):
                    group.start_soon(upload)
            await upload()
            assert statuses == [503, 200, 200]

    anyio.run(run)
    app.app.state.studio.close()
