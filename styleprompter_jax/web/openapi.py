"""Describes the HTTP interface in OpenAPI, from its rows and their types."""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from styleprompter_jax.core.fields import Length
from styleprompter_jax.version import __version__

_PLAIN = {int: "integer", float: "number", bool: "boolean", str: "string"}
_ERROR = {
    "description": "The reason for the refusal, in one sentence.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "error": {"type": "string"},
                    "unknown": {
                        "type": "string",
                        "description": "The id that the client does not have.",
                    },
                },
                "required": ["error"],
            }
        }
    },
}


def describe(endpoints: Iterable[Any]) -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document of rows such as `api.ENDPOINTS`."""
    paths: dict[str, dict] = {}
    schemas: dict[str, Any] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "styleprompter studio", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "client": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The key from POST /api/clients.",
                },
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token that the server printed when it started; "
                    "it has none on 127.0.0.1 without --name.",
                },
            },
        },
    }


def _operation(endpoint: Any, schemas: dict) -> dict[str, Any]:
    summary, _, more = (inspect.getdoc(endpoint.answer) or "").partition("\n\n")
    found: dict[str, Any] = {
        "operationId": endpoint.answer.__name__,
        "summary": summary,
        "security": [] if endpoint.key == "nothing" else [{endpoint.key: []}],
        "responses": {
            "200": {
                "description": summary,
                "content": _answers(endpoint, schemas),
            },
            "default": _ERROR,
        },
    }
    if more:
        found["description"] = " ".join(more.split())
    if names := re.findall(r"{(\w+)}", endpoint.path):
        found["parameters"] = [
            {"name": n, "in": "path", "required": True, "schema": {"type": "string"}}
            for n in names
        ]
    if endpoint.body is bytes:
        binary: dict[str, Any] = {"application/octet-stream": {}}
        found["requestBody"] = {"required": True, "content": binary}
    elif endpoint.body is not None:
        content = {"application/json": {"schema": _schema(endpoint.body, schemas)}}
        # An empty body stands for an object without fields.
        required = bool(schemas[endpoint.body.__name__]["required"])
        found["requestBody"] = {"required": required, "content": content}
    return found


def _answers(endpoint: Any, schemas: dict) -> dict[str, Any]:
    """Returns the content of the answers by media type."""
    if endpoint.gives:
        return {media: {} for media in endpoint.gives}
    answer = typing.get_type_hints(endpoint.answer)["return"]
    return {"application/json": {"schema": _schema(answer, schemas)}}


def _schema(hint: Any, schemas: dict) -> dict[str, Any]:
    """Returns the JSON schema of an annotation; refers to a class by its name."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if origin is typing.NotRequired:
        return _schema(arguments[0], schemas)
    if origin is typing.Annotated:
        kind, mark = arguments
        schema = _schema(kind, schemas)
        if not isinstance(mark, Length):
            return schema | {"minimum": mark.low, "maximum": mark.high}
        what = "Length" if kind is str else "Items"
        return schema | {f"min{what}": mark.low, f"max{what}": mark.high}
    if origin in (types.UnionType, typing.Union):
        (kind,) = (choice for choice in arguments if choice is not types.NoneType)
        return {"anyOf": [_schema(kind, schemas), {"type": "null"}]}
    if origin in (tuple, list):
        return {"type": "array", "items": _schema(arguments[0], schemas)}
    if origin is dict:
        values = _schema(arguments[1], schemas)
        return {"type": "object", "additionalProperties": values}
    if origin is typing.Literal:
        return {"type": "string", "enum": list(arguments)}
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        if hint.__name__ not in schemas:
            schemas[hint.__name__] = {}  # ends a recursion
            schemas[hint.__name__] = _object(hint, schemas)
        return {"$ref": f"#/components/schemas/{hint.__name__}"}
    return {"type": _PLAIN[hint]}


def _object(kind: Any, schemas: dict) -> dict[str, Any]:
    """Returns the schema of a dataclass or a TypedDict."""
    hints = typing.get_type_hints(kind, include_extras=True)
    texts = _attributes(kind)
    properties = {
        name: _schema(hint, schemas) | {"description": texts[name]}
        for name, hint in hints.items()
        if typing.get_origin(hint) is not typing.ClassVar
    }
    if typing.is_typeddict(kind):
        required = sorted(kind.__required_keys__)
    else:
        required = []
        for field in dataclasses.fields(kind):
            if field.default is not dataclasses.MISSING:
                if field.default is not None:
                    properties[field.name]["default"] = field.default
            elif field.default_factory is dataclasses.MISSING:
                required.append(field.name)
    return {
        "type": "object",
        "description": (inspect.getdoc(kind) or "").partition("\n")[0],
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _attributes(kind: type) -> dict[str, str]:
    """Returns the text about each attribute in a docstring."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
