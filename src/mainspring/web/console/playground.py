"""The playground: ask a model from the console. The call takes the same governed way as everybody's.

With scripts the answer streams; without, the form posts and the page comes back with the whole answer. The
conversation travels in the form, so that the server keeps nothing of it but the ledger's rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, Response

from mainspring.base.errors import InvalidRequest
from mainspring.web.console.asking import ask_streaming, ask_whole
from mainspring.web.console.assembly import assemble
from mainspring.web.console.blocks import decode
from mainspring.web.console.rendering import base, fragment, page
from mainspring.web.console.sessions import CurrentVisitor, FormVisitor  # noqa: TC001 - FastAPI reads annotations
from mainspring.web.openai.models import names_for

if TYPE_CHECKING:
    from mainspring.ledger.types import Inference
    from mainspring.web.console.sessions import Visitor
    from mainspring.web.runtime import Runtime

router = APIRouter()
_LONGEST_HISTORY = 1_000_000
_MODELS_OFFERED = 200


class Message(msgspec.Struct):
    """A message of the conversation so far."""

    role: str
    content: str


class Question(msgspec.Struct):
    """The playground's form as filled in."""

    model: str = ""
    message: str = ""
    system: str = ""
    temperature: str = ""
    max_tokens: str = ""
    history: list[Message] = []

    def body(self, *, stream: bool) -> bytes:
        """The request in the words of Chat Completions.

        Raises:
            InvalidRequest: a number is none.
        """
        messages = [Message("system", self.system)] if self.system.strip() else []
        messages += [*self.history, Message("user", self.message)]
        document: dict[str, Any] = {"model": self.model.strip(), "messages": messages, "stream": stream}
        if stream:
            document["stream_options"] = {"include_usage": True}
        try:
            if self.temperature.strip():
                document["temperature"] = float(self.temperature)
            if self.max_tokens.strip():
                document["max_tokens"] = int(self.max_tokens)
        except ValueError:
            raise InvalidRequest(
                "Temperature and most tokens are numbers.", remedy="Correct or empty them."
            ) from None
        return msgspec.json.encode(document)


@router.get("/playground")
async def show(request: Request, visitor: CurrentVisitor, model: str = "") -> Response:
    """An empty playground."""
    return _page(request, visitor, Question(model=model))


@router.post("/playground")
async def ask(
    *,
    request: Request,
    visitor: FormVisitor,
    model: Annotated[str, Form()] = "",
    message: Annotated[str, Form()] = "",
    system: Annotated[str, Form()] = "",
    temperature: Annotated[str, Form()] = "",
    max_tokens: Annotated[str, Form()] = "",
    history: Annotated[str, Form()] = "",
) -> Response:
    """Ask: as a stream of chat chunks where that is accepted, else as a whole page."""
    question = Question(model, message, system, temperature, max_tokens, _history(history))
    runtime: Runtime = request.app.state.runtime
    if "text/event-stream" in request.headers.get("accept", ""):
        return ask_streaming(runtime, visitor.principal, question.body(stream=True))
    try:
        status, request_id, body = await ask_whole(runtime, visitor.principal, question.body(stream=False))
    except InvalidRequest as error:
        return _page(request, visitor, question, problem=str(error), status=error.status)
    row = await runtime.ledger.get(request_id, visitor.scope)
    if status >= 400:  # noqa: PLR2004 - the HTTP error range
        return _page(request, visitor, question, problem=_refusal(body), row=row, status=status)
    question.history += [Message("user", message), Message("assistant", _text(body))]
    question.message = ""
    return _page(request, visitor, question, row=row)


@router.get("/playground/facts/{request_id}")
async def facts(request: Request, visitor: CurrentVisitor, request_id: str) -> Response:
    """What an answer took and cost, as a piece of a page: the script adds it once a stream has ended.

    204 while there is no row: a stream that its reader stopped is recorded a moment later.
    """
    row = await request.app.state.runtime.ledger.get(request_id, visitor.scope)
    if row is None:
        return Response(status_code=204)
    return HTMLResponse(fragment("_facts.html", base=base(request), row=row))


def _page(
    request: Request,
    visitor: Visitor,
    question: Question,
    *,
    problem: str = "",
    row: Inference | None = None,
    status: int = 200,
) -> Response:
    models = names_for(request.app.state.runtime, visitor.principal)[:_MODELS_OFFERED]
    return page(
        request,
        "playground.html",
        visitor,
        status=status,
        models=models,
        model=question.model or first_choice(models),
        message=question.message,
        system=question.system,
        temperature=question.temperature,
        max_tokens=question.max_tokens,
        history=question.history,
        history_json=msgspec.json.encode(question.history).decode() if question.history else "",
        problem=problem,
        row=row,
    )


def first_choice(models: list[str]) -> str:
    """The model that stands in a form or an example: the route `default` where the key may use it, else the first."""
    return "default" if "default" in models else next(iter(models), "")


def _history(text: str) -> list[Message]:
    """The conversation so far, as the form holds it; a form that was tampered with starts over."""
    try:
        return msgspec.json.decode(text, type=list[Message]) if 0 < len(text) < _LONGEST_HISTORY else []
    except msgspec.DecodeError:
        return []


def _text(body: bytes) -> str:
    """The text of a chat answer."""
    try:
        return str(msgspec.json.decode(body)["choices"][0]["message"].get("content") or "")
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
        return ""


def _refusal(body: bytes) -> str:
    """The words of an error, be it whole or inside a stream."""
    document = decode(body)
    error = (document if isinstance(document, dict) else assemble(body)).get("error")
    return str(error.get("message", error)) if isinstance(error, dict) else "The call failed."
