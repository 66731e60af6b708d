import os
import signal

from crewrun import LLM
from crewrun.flow import Flow, listen, persist, start
from crewrun.flow.persistence import SQLiteFlowPersistence


@persist(SQLiteFlowPersistence("states.sqlite"))
class Letter(Flow):
    @start()
    async def draft(self):
        self.state["draft"] = await LLM(model="openai/gpt-4.1-mini", base_url="http://provider.invalid/v1").acall(
            f"Draft a letter to {self.state['to']}"
        )

    @listen(draft)
    async def polish(self):
        if os.environ.get("CRASH"):
            os.kill(os.getpid(), signal.SIGKILL)
        return await LLM(model="openai/gpt-4.1-mini", base_url="http://provider.invalid/v1").acall(
            f"Polish the letter to {self.state['to']}"
        )
