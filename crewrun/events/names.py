"""The names of CrewAI's events: which module has those that crewrun sends, and why it sends no others. Data only."""

from collections.abc import Mapping

# Module below `crewrun.events`: its names that are in `crewrun.events` too.
SENT: Mapping[str, tuple[str, ...]] = {
    "base_event_listener": ("BaseEventListener",),
    "base_events": ("BaseEvent",),
    "depends": ("CircularDependencyError", "Depends"),
    "event_bus": ("CrewAIEventsBus", "crewai_event_bus"),
    "types.agent_events": (
        *("AgentExecutionCompletedEvent", "AgentExecutionErrorEvent", "AgentExecutionStartedEvent"),
        *("LiteAgentExecutionCompletedEvent", "LiteAgentExecutionErrorEvent", "LiteAgentExecutionStartedEvent"),
    ),
    "types.crew_events": (
        *("CrewBaseEvent", "CrewKickoffCompletedEvent", "CrewKickoffFailedEvent", "CrewKickoffStartedEvent"),
    ),
    "types.flow_events": (
        *("FlowEvent", "FlowFinishedEvent", "FlowStartedEvent"),
        *("MethodExecutionFailedEvent", "MethodExecutionFinishedEvent", "MethodExecutionStartedEvent"),
    ),
    "types.llm_events": ("LLMCallCompletedEvent", "LLMCallFailedEvent", "LLMCallStartedEvent", "LLMCallType"),
    "types.task_events": ("TaskCompletedEvent", "TaskFailedEvent", "TaskStartedEvent"),
    "types.tool_usage_events": (
        *("ToolFailureDetectedEvent", "ToolSelectionErrorEvent", "ToolUsageErrorEvent", "ToolUsageEvent"),
        *("ToolUsageFinishedEvent", "ToolUsageStartedEvent", "ToolValidateInputErrorEvent"),
    ),
}

# CrewAI's module of events that are never sent, or the beginning of their names in a module that has others; and why.
NEVER_SENT: Mapping[str, str] = {
    "A2A": "crewrun does not talk to remote agents",
    "AgentEvaluation": "crewrun scores outputs with `crewrun score`",
    "AgentLogs": "crewrun prints no steps of agents",
    "AgentReasoning": "crewrun's agents do not plan",
    "Checkpoint": "crewrun has its journal in place of checkpoints",
    "CrewTest": "crewrun scores outputs with `crewrun score`",
    "CrewTrain": "crewrun does not train",
    "FlowCreated": "a flow is first heard of when it starts",
    "FlowInput": "crewrun runs unattended",
    "FlowPaused": "crewrun runs unattended",
    "FlowPlot": "plot() returns the path of its page",
    "HumanFeedback": "crewrun runs unattended",
    "Knowledge": "crewrun puts knowledge into prompts itself",
    "LLMGuardrail": "a guardrail is part of its task",
    "LLMStream": "crewrun does not stream",
    "LLMThinking": "crewrun does not stream",
    "MCP": "a tool of an MCP server sends the events of a tool",
    "Memory": "crewrun has no memory",
    "MethodExecutionPaused": "crewrun runs unattended",
    "Reasoning": "crewrun's agents do not plan",
    "Skill": "crewrun's agents read skills as a tool",
    "TaskEvaluation": "crewrun scores outputs with `crewrun score`",
    "ToolExecutionError": "crewrun sends ToolUsageErrorEvent",
}
# CrewAI's modules below `events.types` whose events are never sent.
OTHER_TYPES = (
    *("a2a_events", "checkpoint_events", "knowledge_events", "llm_guardrail_events", "logging_events", "mcp_events"),
    *("memory_events", "observation_events", "reasoning_events", "skill_events", "system_events"),
)


def why_never_sent(name: str) -> str:
    """Why crewrun never sends the event of CrewAI's that is called `name`."""
    longest = max((prefix for prefix in NEVER_SENT if name.startswith(prefix)), key=len, default=None)
    return "crewrun has nothing of the kind" if longest is None else NEVER_SENT[longest]
