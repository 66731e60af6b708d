"""`crewrun bench`: runs some crews in parallel, then one after another, and compares the times."""

from typing import Any

import typer

from crewrun.cli import flags

_SHORTEST_S = 0.01  # shorter calls do not wait for the network, so running them in parallel gains nothing


def bench(
    count: int = typer.Option(4, "--crews", "-n", min=1, metavar="N", help="How many crews."),
    model: flags.Model = None,
    base_url: flags.BaseUrl = None,
    call_timeout: flags.CallTimeout = None,
    retries: flags.Retries = None,
) -> None:
    """Run N small crews in parallel, then one after another, and print both times and the speedup.

    Every crew makes one call of a few tokens, so 2 N calls are paid for. Exit codes: 0 done; 2 usage or model is wrong;
    3 a call failed.
    """
    from crewrun.cli.setup import defaulted, load_env, open_stdout, put_data, run_loop
    from crewrun.errors import CallError
    from crewrun.limits.retry import RetryPolicy
    from crewrun.llm.gateway import Gateway
    from crewrun.llm.options import GatewayOptions
    from crewrun.terminal import complain

    load_env()
    stdout = open_stdout()
    values = defaulted(model=model, base_url=base_url, retries=retries, call_timeout=call_timeout)
    retry = RetryPolicy() if values["retries"] is None else RetryPolicy(retries=values["retries"])
    gateway = Gateway(GatewayOptions(retry, values["call_timeout"], values["model"], values["base_url"]))
    try:
        parallel_s, sequential_s = run_loop(_measure, gateway, count)
    except CallError as failed:
        complain(f"{failed} ({failed.category})")
        raise typer.Exit(3) from None
    times = f"Parallel:   {parallel_s:.2f} s for {count} crews\nSequential: {sequential_s:.2f} s"
    put_data(stdout, f"{times}\n{_speedup(parallel_s, sequential_s, count)}")


def _speedup(parallel_s: float, sequential_s: float, count: int) -> str:
    if sequential_s / count < _SHORTEST_S:
        return "Speedup:    none: these calls take no time; those of -m 'offline?latency=0.5' take half a second"
    return f"Speedup:    {sequential_s / max(parallel_s, 1e-9):.1f}x"


def timing_crew(label: str) -> Any:
    """A crew of one agent whose task is a single short reply."""
    from crewrun.crew.agent import Agent
    from crewrun.crew.crew import Crew
    from crewrun.crew.task import Task

    agent = Agent(role="Timer", goal="Reply at once", backstory="You reply exactly as you are asked to.")
    task = Task(description=f"Reply with exactly: {label} done", expected_output=f"{label} done", agent=agent)
    return Crew(agents=[agent], tasks=[task])


async def _measure(gateway: Any, count: int) -> tuple[float, float]:
    import anyio

    from crewrun.aio.concurrency import gather
    from crewrun.target.crew import CrewTarget
    from crewrun.worker import check_models

    crews = [timing_crew(f"crew {i + 1}") for i in range(count)]
    await check_models(CrewTarget(crews[0]), gateway)
    async with gateway:
        # One call first, which opens the connection, so that both measurements start from the same state.
        await timing_crew("warm-up").akickoff()
        began = anyio.current_time()
        await gather([crew.akickoff for crew in crews])
        parallel_s = anyio.current_time() - began
        began = anyio.current_time()
        for crew in crews:
            await crew.akickoff()
        return parallel_s, anyio.current_time() - began
