"""Crews written as a class, as in CrewAI: `@CrewBase` and the decorators for its methods.

    @CrewBase
    class Research:
        @agent
        def writer(self) -> Agent:
            return Agent(config=self.agents_config["writer"], tools=[SerperDevTool()])

        @task
        def draft(self) -> Task:
            return Task(config=self.tasks_config["draft"])

        @crew
        def crew(self) -> Crew:
            return Crew(agents=self.agents, tasks=self.tasks)

`base` sets up the class, `config` reads its YAML files, `marks` has the decorators, and `hooks` collects the methods
that are hooks. `fresh_crew` makes the crew again for a row. `crew_loader` is for code that runs a crew.jsonc itself.
"""

from crewrun.project.base import CrewBase
from crewrun.project.crew_loader import load_crew, load_crew_and_kickoff
from crewrun.project.marks import (
    after_kickoff,
    agent,
    before_kickoff,
    cache_handler,
    callback,
    crew,
    llm,
    output_json,
    output_pydantic,
    task,
    tool,
)

__all__ = [
    "CrewBase",
    "after_kickoff",
    "agent",
    "before_kickoff",
    "cache_handler",
    "callback",
    "crew",
    "llm",
    "load_crew",
    "load_crew_and_kickoff",
    "output_json",
    "output_pydantic",
    "task",
    "tool",
]
