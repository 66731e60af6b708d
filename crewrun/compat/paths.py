"""CrewAI's import paths, and where crewrun has what is there. Data only; modules are named without `crewai.`.

Packages with the same modules and names as CrewAI's need no entry: `crew`, `flow`, `hooks`, `knowledge`, `skills`,
`tools`. Entries for names in these packages are for names that crewrun has elsewhere.
"""

from collections.abc import Mapping

from crewrun.events.names import OTHER_TYPES, SENT

_EVENT_HOMES = {name: f"crewrun.events.{module}:{name}" for module, names in SENT.items() for name in names}
_ALL_TYPES = {"EventTypes": "crewrun.events.base_events:BaseEvent"}
# The older places of events, and the modules of events that are never sent, see `place_of`.
_EVENTS: Mapping[str, Mapping[str, str]] = {
    "events.event_types": _ALL_TYPES,
    **{f"events.types.{module}": {} for module in OTHER_TYPES},
    "utilities.events": {**_EVENT_HOMES, **_ALL_TYPES},
    "utilities.events.crewai_event_bus": _EVENT_HOMES,
    "utilities.events.event_types": _ALL_TYPES,
    **{f"utilities.events.{module.removeprefix('types.')}": _EVENT_HOMES for module in SENT},
    **{f"utilities.events.{module}": {} for module in OTHER_TYPES},
}
# CrewAI's module → name → `module:attribute` of crewrun. "" is the package itself.
PATHS: Mapping[str, Mapping[str, str]] = {
    "": {
        "Knowledge": "crewrun.knowledge:Knowledge",
        "LLMGuardrail": "crewrun.crew.llm_guardrail:LLMGuardrail",
        "Memory": "crewrun.memory:Memory",
        "PlanningConfig": "crewrun.planning:PlanningConfig",
    },
    "agent": {
        "Agent": "crewrun.crew.agent:Agent",
        "PlanningConfig": "crewrun.planning:PlanningConfig",
    },
    "agent.planning_config": {"PlanningConfig": "crewrun.planning:PlanningConfig"},
    "agents": {
        "AgentAction": "crewrun.crew.steps:AgentAction",
        "AgentFinish": "crewrun.crew.steps:AgentFinish",
    },
    "agents.agent_builder": {},
    "agents.agent_builder.base_agent": {"BaseAgent": "crewrun.crew.agent:Agent"},
    "agents.parser": {
        "AgentAction": "crewrun.crew.steps:AgentAction",
        "AgentFinish": "crewrun.crew.steps:AgentFinish",
    },
    "crews": {"CrewOutput": "crewrun.crew.output:CrewOutput"},
    "crews.crew_output": {"CrewOutput": "crewrun.crew.output:CrewOutput"},
    "flow": {"human_feedback": "crewrun.flow.human_feedback:human_feedback"},
    "lite_agent": {"LiteAgent": "crewrun.crew.agent:Agent"},
    "lite_agent_output": {"LiteAgentOutput": "crewrun.crew.output:AgentOutput"},
    "llm": {"BaseLLM": "crewrun.compat.base_llm:BaseLLM"},
    "llms": {},
    "llms.base_llm": {
        "BaseLLM": "crewrun.compat.base_llm:BaseLLM",
        "LLMCallBlockedError": "crewrun.errors:LLMCallBlockedError",
    },
    "process": {"Process": "crewrun.crew.process:Process"},
    "project.annotations": {
        "after_kickoff": "crewrun.project.marks:after_kickoff",
        "agent": "crewrun.project.marks:agent",
        "before_kickoff": "crewrun.project.marks:before_kickoff",
        "cache_handler": "crewrun.project.marks:cache_handler",
        "callback": "crewrun.project.marks:callback",
        "crew": "crewrun.project.marks:crew",
        "llm": "crewrun.project.marks:llm",
        "output_json": "crewrun.project.marks:output_json",
        "output_pydantic": "crewrun.project.marks:output_pydantic",
        "task": "crewrun.project.marks:task",
        "tool": "crewrun.project.marks:tool",
    },
    "project.crew_base": {"CrewBase": "crewrun.project.base:CrewBase"},
    "task": {
        "Task": "crewrun.crew.task:Task",
        "TaskOutput": "crewrun.crew.output:TaskOutput",
    },
    "tasks": {
        "ConditionalTask": "crewrun.crew.task:ConditionalTask",
        "OutputFormat": "crewrun.crew.output:OutputFormat",
        "TaskOutput": "crewrun.crew.output:TaskOutput",
    },
    "tasks.conditional_task": {"ConditionalTask": "crewrun.crew.task:ConditionalTask"},
    "tasks.llm_guardrail": {
        "LLMGuardrail": "crewrun.crew.llm_guardrail:LLMGuardrail",
        "LLMGuardrailResult": "crewrun.compat.names:LLMGuardrailResult",
    },
    "tasks.output_format": {"OutputFormat": "crewrun.crew.output:OutputFormat"},
    "tasks.task_output": {"TaskOutput": "crewrun.crew.output:TaskOutput"},
    "types": {},
    "types.callback": {"SerializableCallable": "crewrun.compat.names:SerializableCallable"},
    "types.usage_metrics": {"UsageMetrics": "crewrun.crew.output:UsageMetrics"},
    "utilities": {
        "I18N": "crewrun.utilities.i18n:I18N",
        "Logger": "crewrun.utilities.logger:Logger",
        "Printer": "crewrun.utilities.printer:Printer",
    },
    "utilities.llm_utils": {"create_llm": "crewrun.compat.names:create_llm"},
    "utilities.string_utils": {
        "interpolate_only": "crewrun.compat.names:interpolate_only",
        "sanitize_tool_name": "crewrun.tools.toolbox:wire_name",
    },
    **_EVENTS,
    "utilities.types": {"LLMMessage": "crewrun.compat.names:LLMMessage"},
}

# CrewAI's other packages, whose names crewrun has in the ones on the right.
PACKAGES: Mapping[str, str] = {"crewai": "crewrun", "crewai_tools": "crewrun.tools", "crewai_files": "crewrun.files"}

# Names that are ours even where their package is installed: its adapter connects while a file is loaded.
ALWAYS_OURS: Mapping[str, frozenset[str]] = {"crewai_tools": frozenset({"MCPServerAdapter"})}

# CrewAI's modules, with everything below them, that do not affect a crew's answers; and why their names do nothing.
WITHOUT_EFFECT: Mapping[str, str] = {
    "agents.cache": "crewrun keeps models' answers, with --cache",
    "events.event_listener": "crewrun prints its own messages",
    "events.listeners": "crewrun sends no traces to CrewAI",
    "events.utils": "crewrun prints its own messages",
    "hooks.types": "types are for type checkers",
    "hooks.wrappers": "use the decorators",
    "knowledge.storage": "crewrun keeps passages of knowledge in memory",
    "knowledge.utils": "crewrun puts knowledge into prompts itself",
    "llms.cache": "providers cache prompts themselves",
    "memory": "crewrun has no memory",
    "planning": "crewrun does not plan",
    "rag": "crewrun has no memory, and chooses passages of knowledge by their words",
    "security": "crewrun gives no fingerprints",
    "telemetry": "crewrun sends no telemetry",
    "types.streaming": "crewrun does not stream",
    "utilities.events.event_listener": "crewrun prints its own messages",
    "utilities.events.third_party": "a listener of your own can pass events on",
    "utilities.events.utils": "crewrun prints its own messages",
    "utilities.exceptions": "crewrun has errors of its own",
    "utilities.i18n": "crewrun's prompts are in English",
    "utilities.logger": "crewrun writes a log of its own; use logging",
    "utilities.printer": "crewrun prints its own messages; use print",
}
# Modules without which a crew would do something else, and what to do instead.
REFUSED: Mapping[str, str] = {
    "a2a": "it does not talk to remote agents; give the agent a tool that does",
    "flow.human_feedback": "it runs unattended; take @human_feedback off the method",
    "llms.hooks": "it does not hand out its requests; use before_llm_call and after_llm_call, or LLM(extra_headers=…)",
    "llms.providers": "it calls providers itself; write LLM(model='provider/model'), or a BaseLLM of your own",
    "mcp.client": "it opens the sessions with MCP servers itself; name the servers in mcps=[…]",
    "mcp.tool_resolver": "it lists the tools of MCP servers itself; name the servers in mcps=[…]",
    "mcp.transports": "it opens the sessions with MCP servers itself; name the servers in mcps=[…]",
    "tasks.hallucination_guardrail": "write the rule as the task's guardrail: a sentence that the agent's model judges",
}


def place_of(module: str, name: str) -> tuple[str, str]:
    """The module of crewrun, and the name in it, that `from module import name` stands for.

    `module` is CrewAI's path below crewrun, as in `crewrun.tasks.task_output`.
    """
    path = module.removeprefix("crewrun").removeprefix(".")
    place = PATHS.get(path, {}).get(name)
    if place is None and name.endswith("Event") and path.startswith(("events", "utilities.events")):
        place = f"crewrun.events:{name}"  # CrewAI has moved its events between modules
    home, _, attribute = (place or f"{module}:{name}").partition(":")
    return home, attribute


def is_stub(place: str) -> bool:
    """Whether `place`, a value in the table, is in a module whose names do nothing."""
    module = place.partition(":")[0].removeprefix("crewrun.")
    return any(f"{module}.".startswith(f"{stub}.") for stub in WITHOUT_EFFECT)
