"""What OpenTelemetry's variables mean to crewrun."""

from dataclasses import replace

import pytest

from crewrun.errors import UsageError
from crewrun.monitoring.collector import CollectorOptions
from crewrun.monitoring.environment import collector_options, is_disabled, is_wanted, longest_text, queue_options
from crewrun.monitoring.span_queue import QueueOptions

ALL = "OTEL_EXPORTER_OTLP_"
OWN = "OTEL_EXPORTER_OTLP_TRACES_"
DEFAULT = CollectorOptions("http://localhost:4318/v1/traces")


@pytest.mark.parametrize(
    ("env", "options"),
    [
        pytest.param({}, DEFAULT, id="nothing"),
        pytest.param(
            {f"{ALL}ENDPOINT": "https://otel:4318/base/"},
            CollectorOptions("https://otel:4318/base/v1/traces"),
            id="an address for all",
        ),
        pytest.param(
            {f"{ALL}ENDPOINT": "http://otel", f"{OWN}ENDPOINT": "http://traces:1/as-it-is"},
            CollectorOptions("http://traces:1/as-it-is"),
            id="one of its own",
        ),
        pytest.param(
            {f"{ALL}HEADERS": "api-key=a%20b, other = c,nonsense,=x"},
            replace(DEFAULT, headers={"api-key": "a b", "other": "c"}),
            id="headers",
        ),
        pytest.param({f"{ALL}TIMEOUT": "2500"}, replace(DEFAULT, timeout_s=2.5), id="milliseconds"),
        pytest.param({f"{OWN}TIMEOUT": "3"}, replace(DEFAULT, timeout_s=3.0), id="seconds"),
        pytest.param({f"{ALL}TIMEOUT": "soon"}, DEFAULT, id="no time"),
        pytest.param({f"{ALL}COMPRESSION": "gzip"}, replace(DEFAULT, compression="gzip"), id="compressed"),
        pytest.param(
            {f"{ALL}CERTIFICATE": "a", f"{ALL}CLIENT_CERTIFICATE": "b", f"{OWN}CLIENT_KEY": "c"},
            replace(DEFAULT, certificate="a", client_certificate="b", client_key="c"),
            id="certificates",
        ),
        pytest.param(
            {f"{OWN}ENDPOINT": "https://ann:p%40ss@otel/v1/traces", f"{ALL}HEADERS": "a=b"},
            replace(DEFAULT, url="https://otel/v1/traces", headers={"Authorization": "Basic YW5uOnBAc3M=", "a": "b"}),
            id="a login",
        ),
        pytest.param({"OTEL_TRACES_EXPORTER": "none"}, None, id="no traces"),
        pytest.param({"OTEL_TRACES_EXPORTER": "console,otlp"}, DEFAULT, id="ours among others"),
    ],
)
def test_where_traces_go(env: dict[str, str], options: CollectorOptions | None) -> None:
    """A signal's own variable comes before that of all; nonsense in a number counts as not set."""
    assert collector_options("traces", env) == options


@pytest.mark.parametrize(
    ("env", "message"),
    [
        pytest.param({f"{ALL}PROTOCOL": "grpc"}, r"crewrun speaks http/protobuf, .* port 4318", id="grpc"),
        pytest.param({f"{ALL}ENDPOINT": "otel:4318"}, "needs to be the URL of a collector", id="no URL"),
        pytest.param({f"{OWN}ENDPOINT": "http://otel:port"}, "TRACES_ENDPOINT: needs to be the URL", id="no port"),
        pytest.param({f"{ALL}COMPRESSION": "zip"}, "needs to be one of none, gzip, deflate", id="compression"),
        pytest.param({f"{ALL}HEADERS": "key=a\nb"}, "HEADERS has characters that a header cannot have", id="a line"),
        pytest.param({f"{ALL}HEADERS": "key=%E2%80%A6"}, "HEADERS has characters that", id="no Latin"),
        pytest.param({"OTEL_TRACES_EXPORTER": "zipkin"}, "crewrun sends by otlp, or none", id="another exporter"),
    ],
)
def test_what_cannot_be_done_is_refused(env: dict[str, str], message: str) -> None:
    """With the variable's name, and what is possible."""
    with pytest.raises(UsageError, match=message):
        collector_options("traces", env)


def test_the_numbers_of_the_batch_processor() -> None:
    """In milliseconds; the end of a run waits five seconds at most; nonsense counts as not set."""
    env = {
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "200",
        "OTEL_BSP_SCHEDULE_DELAY": "250",
        "OTEL_BSP_EXPORT_TIMEOUT": "30000",
    }
    assert queue_options(env) == QueueOptions(size=100, at_once=100, delay_s=0.25, flush_s=5.0)
    assert queue_options(dict.fromkeys(env, "many")) == QueueOptions()
    assert queue_options({"OTEL_BSP_EXPORT_TIMEOUT": "100"}) == QueueOptions(flush_s=0.1)


def test_when_anything_is_sent() -> None:
    """A collector that is named turns it on, OTEL_SDK_DISABLED turns it off."""
    assert [is_wanted({}), is_wanted({f"{ALL}ENDPOINT": "x"}), is_wanted({f"{OWN}ENDPOINT": "x"})] == [
        False,
        True,
        True,
    ]
    assert [is_disabled({}), is_disabled({"OTEL_SDK_DISABLED": "True"})] == [False, True]
    assert [longest_text({}), longest_text({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "80"})] == [None, 80]
