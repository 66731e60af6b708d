"""The mock's files, which batch jobs read and write: `/v1/files`.

https://platform.openai.com/docs/api-reference/files
"""

from dataclasses import dataclass
from typing import Any

from crewrun.mock.batch_forms import form_of
from crewrun.mock.clock import MockClock
from crewrun.mock.endpoint import MockRequest, Refused, page_of
from crewrun.mock.job_faults import JobFaults
from crewrun.mock.multipart import read_form
from crewrun.mock.replies import JSON_LINES, MockReply, json_reply

# `batch-api` is Together's word for `batch`.
_PURPOSES = ("batch", "batch-api", "assistants", "fine-tune", "vision", "user_data", "evals")
_PIECE_BYTES = 64 * 1024
# As OpenAI and Mistral call the content of any file.
_BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that a client uploaded, or that a job wrote."""

    id: str
    filename: str
    purpose: str
    content: bytes
    created_at: int

    def on_wire(self) -> dict[str, Any]:
        """The file in OpenAI's form."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created_at,
            "expires_at": None,
            "filename": self.filename,
            "purpose": self.purpose,
            "status_details": None,
            # Mistral's, without which its SDK does not read a file.
            "sample_type": "batch_result" if self.purpose == "batch_output" else "batch_request",
            "source": "mistral" if self.purpose == "batch_output" else "upload",
        }


class Files:
    """All files, in memory, and their endpoints."""

    def __init__(self, clock: MockClock, faults: JobFaults) -> None:
        self._clock = clock
        self._faults = faults
        self._files: dict[str, StoredFile] = {}
        self._unprocessed: set[str] = set()  # Azure's uploads that nobody has looked at
        self._count = 0

    def add(self, filename: str, purpose: str, content: bytes) -> StoredFile:
        """Store a file."""
        self._count += 1
        file = StoredFile(f"file-mock-{self._count}", filename, purpose, content, int(self._clock.unix_s))
        self._files[file.id] = file
        return file

    def find(self, file_id: str) -> StoredFile | None:
        """The file with this id, None if it does not exist."""
        return self._files.get(file_id)

    def is_processed(self, file: StoredFile) -> bool:
        """Whether jobs can be made of a file; at Azure, from the first look at it on."""
        return file.id not in self._unprocessed

    async def upload(self, request: MockRequest) -> MockReply:
        """POST /v1/files, or /v1/files/upload."""
        try:
            form = read_form(request.headers.get("content-type", ""), request.body)
        except ValueError as error:
            raise Refused(400, str(error)) from error
        file, purpose = form.get("file"), form.get("purpose")
        if file is None or not file.filename:
            raise Refused(400, "'file' is a required property", "missing_required_parameter")
        named = purpose.content.decode("utf-8", "replace") if purpose else ""
        if named not in _PURPOSES:
            raise Refused(400, f"purpose: {named!r} is not one of {', '.join(_PURPOSES)}")
        if self._faults.take("cut-upload"):
            return MockReply(200, b"", cut=True)
        stored = self.add(file.filename, "batch" if named == "batch-api" else named, file.content)
        if form_of(request) == "azure":
            self._unprocessed.add(stored.id)
        if self._faults.take("lost-upload"):
            return MockReply(200, b"", cut=True)
        return json_reply(self._on_wire(stored))

    async def page(self, request: MockRequest) -> MockReply:
        """GET /v1/files, the newest first, or the oldest with `order=asc`."""
        purpose = request.query.get("purpose")
        files = [file for file in self._files.values() if purpose in (None, file.purpose)]
        if request.query.get("order") != "asc":
            files.reverse()
        page = page_of(files, request.query, "after", most=10_000, usual=10_000)
        return json_reply({"object": "list", "data": [self._on_wire(file) for file in page.things], **page.ends()})

    async def get(self, request: MockRequest) -> MockReply:
        """GET /v1/files/ID."""
        file = self._file(request)
        self._unprocessed.discard(file.id)
        return json_reply(self._on_wire(file))

    async def content(self, request: MockRequest) -> MockReply:
        """GET /v1/files/ID/content."""
        file = self._file(request)
        if file.purpose == "batch_output" and self._faults.take("gone"):
            raise _no_file(request.id)
        return content_reply(file.content, self._faults, _BYTES)

    async def delete(self, request: MockRequest) -> MockReply:
        """DELETE /v1/files/ID."""
        del self._files[self._file(request).id]
        return json_reply({"id": request.id, "object": "file", "deleted": True})

    def _on_wire(self, file: StoredFile) -> dict[str, Any]:
        return file.on_wire() | {"status": "processed" if self.is_processed(file) else "pending"}

    def _file(self, request: MockRequest) -> StoredFile:
        file = self._files.get(request.id)
        if file is None:
            raise _no_file(request.id)
        return file


def content_reply(content: bytes, faults: JobFaults, content_type: str = JSON_LINES) -> MockReply:
    """The content of a file, in pieces if the faults say that it comes slowly or breaks off."""
    cut, pause_s = faults.take("cut-content"), faults.number("slow-content") or 0.0
    if not cut and not pause_s:
        return MockReply(200, content, content_type=content_type)
    size = min(_PIECE_BYTES, max(1, len(content) // 4))
    pieces = tuple(content[at : at + size] for at in range(0, len(content), size))
    return MockReply(200, b"", cut=cut, content_type=content_type, pieces=pieces, pause_s=pause_s)


def _no_file(file_id: str) -> Refused:
    return Refused(404, f"No such File object: {file_id}")
