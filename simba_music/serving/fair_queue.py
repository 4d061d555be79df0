"""Fair queue: jobs that are read, so many a visitor, in turn; a queue for each kind of work."""

import asyncio
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any

from simba_music.serving.addresses import address_of
from simba_music.settings import settings

UNREAD_S = 5.0  # a job whose answer nobody reads is dropped after this time
SOON_S = 1.0  # and after this one where another job needs its place
LONGEST = 20  # jobs of one kind that wait
VISITORS = 1000  # of whom it is remembered when they were served
HOST = ""  # stands for whoever sits at the host's machine


class WatchedMessages(asyncio.Queue[Any]):
    """Messages of one session, which know whether somebody reads them."""

    def __init__(self) -> None:
        super().__init__()
        self._reading, self._last = 0, time.monotonic()
        self.ever_read = False

    async def get(self) -> Any:
        """The next message."""
        self._reading += 1
        self.ever_read = True
        try:
            return await super().get()
        finally:
            self._reading -= 1
            self._last = time.monotonic()

    def expect(self) -> None:
        """A job begins: who sent it has time to come and read, however long ago the last was."""
        self._last = time.monotonic()

    @property
    def unread_s(self) -> float:
        """For how long nobody has read, in s."""
        return 0.0 if self._reading else time.monotonic() - self._last


class FairQueue:
    """Takes the place of three methods of Gradio's queue, which runs jobs in the order of coming.

    A job starts once somebody reads its answer. It is Gradio's own queue still: what this class
    relies on is that of the release which requirements.txt pins, and the tests hold it.
    """

    def __init__(self, queue: Any):
        self.queue = queue
        self.refused = Counter[str]()  # since the start, by reason
        self._served = OrderedDict[str, float]()  # when a visitor's job was begun last
        self._push, self._start = queue.push, queue.start
        queue.max_size = None  # it counts jobs of all kinds together
        queue.push, queue.get_events, queue.start = self.push, self.get_events, self.start

    def start(self) -> None:
        """Begin to run jobs, and to drop those that are not read."""
        self._start()
        # Kept, since the loop itself does not hold its tasks.
        self._sweeping = asyncio.get_event_loop().create_task(self._sweep())

    async def _sweep(self) -> None:
        while not self.queue.stopped:
            await asyncio.sleep(SOON_S / 2)
            await self.drop_unread(UNREAD_S)

    def waiting(self, kind: str | None = None) -> list[Any]:
        """Jobs that wait, of one kind of work or of all."""
        kinds = self.queue.event_queue_per_concurrency_id
        return [job for name, own in kinds.items() if kind in (None, name) for job in own.queue]

    def running(self) -> list[Any]:
        """Jobs that run and are read."""
        return [job for jobs in self.queue.active_jobs for job in jobs or () if job.alive]

    def _messages(self, job: Any) -> WatchedMessages | None:
        found: WatchedMessages | None = self.queue.pending_messages_per_session.get(
            job.session_hash
        )
        return found

    async def drop_unread(self, after_s: float) -> None:
        """End every job whose answer nobody has read for so long."""
        for job in [*self.waiting(), *self.running()]:
            messages = self._messages(job)
            if messages is None or messages.unread_s > after_s:
                self.refused["unread"] += 1
                await self.queue.clean_events(event_id=job._id)
                self.queue.pending_event_ids_session.get(job.session_hash, set()).discard(job._id)

    async def push(self, body: Any, request: Any, username: str | None) -> tuple[bool, Any, str]:
        """Take a job, or say why not; as Gradio's own."""
        fn = self.queue.blocks.fns.get(body.fn_index)
        kind = fn.concurrency_id if fn is not None else ""
        if len(self.waiting(kind)) >= LONGEST:
            await self.drop_unread(SOON_S)
        if refusal := self._refusal(kind, address_of(request.scope)):
            return False, refusal, "queue_full"
        body.session_hash = body.session_hash or uuid.uuid4().hex
        if body.session_hash not in self.queue.pending_messages_per_session:
            self.queue.pending_messages_per_session[body.session_hash] = WatchedMessages()
        self.queue.pending_messages_per_session[body.session_hash].expect()
        answer: tuple[bool, Any, str] = await self._push(body, request, username)
        return answer

    def _refusal(self, kind: str, visitor: str | None) -> str:
        """Why a job of this kind is not taken; "" if it is."""
        waiting = self.waiting(kind)
        if len(waiting) >= LONGEST:
            self.refused["full"] += 1
            return f"{LONGEST} others wait already. Try again in a minute."
        most = settings().visitor_jobs
        running = [job for job in self.running() if job.concurrency_id == kind]
        own = [job for job in [*waiting, *running] if address_of(job.request.scope) == visitor]
        if visitor is not None and len(own) >= most:
            self.refused["visitor"] += 1
            return f"{most} jobs from your address wait already. Try again when one is done."
        return ""

    def get_events(self) -> tuple[list[Any], bool, str] | None:
        """The job to run next, of any kind that has a place free."""
        for kind, own in self.queue.event_queue_per_concurrency_id.items():
            limit = own.concurrency_limit
            if not own.queue or (limit is not None and own.current_concurrency >= limit):
                continue
            own.queue.sort(key=dict(self._turns(kind, own.queue)).__getitem__)
            for job in own.queue:
                messages = self._messages(job)
                if messages is not None and messages.ever_read:
                    own.queue.remove(job)
                    self._note(address_of(job.request.scope) or HOST)
                    return [job], False, kind
        return None

    def _note(self, visitor: str) -> None:
        self._served[visitor] = time.monotonic()
        self._served.move_to_end(visitor)
        while len(self._served) > VISITORS:
            self._served.popitem(last=False)

    def _turns(self, kind: str, jobs: list[Any]) -> Iterator[tuple[Any, tuple[int, float, float]]]:
        """Order of jobs: each visitor's first before anyone's second; what runs counts too.

        Of several firsts, that of who was served longest ago.
        """
        before = Counter(
            address_of(job.request.scope) or HOST
            for job in self.running()
            if job.concurrency_id == kind
        )
        for job in sorted(jobs, key=lambda one: one.enqueue_time):
            visitor = address_of(job.request.scope) or HOST
            yield job, (before[visitor], self._served.get(visitor, 0.0), job.enqueue_time)
            before[visitor] += 1
