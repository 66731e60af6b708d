"""The table of refusals: which codes, words and statuses of a reply map to which CallError, in order.

Codes come before words, since a message may quote a row's text, and words before the status. The first rule that
applies determines the class, else `BY_STATUS` does. `error_body` parses the body, and `http_errors` makes the error.
Rules are per kind of error, not per provider; comments name where a wording was seen.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from crewrun.errors import (
    AuthRefused,
    BadRequest,
    CallError,
    CallTimedOut,
    ContentFiltered,
    ContextTooLong,
    GenerationFailed,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from crewrun.llm.transports.overflow import is_overflow, is_overflow_surely, requests_more_than_its_limit

BY_STATUS: Final[Mapping[int, type[CallError]]] = {
    401: AuthRefused,
    402: QuotaExhausted,
    403: AuthRefused,
    404: ModelNotFound,
    408: CallTimedOut,
    409: ServerError,
    413: ContextTooLong,
    424: ServerError,  # TGI: the generation failed
    425: ServerError,
    429: RateLimited,
    498: ServerError,  # Groq: no capacity for flex
    499: ServerError,
}
_4XX, _5XX = frozenset(range(400, 500)), frozenset(range(500, 600))
_4XX_5XX = _4XX | _5XX
_OF_A_SERVER = re.compile(r"\bqueue|\bbusy\b|overload|\bbuffer|\bprox(?:y|ies)\b|\bupstream\b|unavailable|\bcapacity\b")
# Statuses that leave the meaning to the words.
_UNCLEAR = frozenset({400, 403, 404, 406, 409, 410, 422, 424})


@dataclass(frozen=True, slots=True)
class Rule:
    """Applies to `statuses` if a code without punctuation matches `codes`, or if `words` accepts the message. `waiting`
    restricts it to replies that ask to wait, or to those that do not.
    """

    kind: type[CallError]
    statuses: frozenset[int]
    codes: re.Pattern[str] | None = None
    words: Callable[[str], object] | None = None
    waiting: bool | None = None


def _codes(pattern: str) -> re.Pattern[str]:
    """`pattern` for codes in lower case without punctuation, one per line."""
    return re.compile(pattern, re.MULTILINE)


def _words(pattern: str, unless: str = "") -> Callable[[str], object]:
    """A test for texts that contain `pattern` but not `unless`."""
    is_in, is_excluded = re.compile(pattern).search, re.compile(unless).search if unless else None
    return lambda words: is_in(words) and not (is_excluded and is_excluded(words))


# The subject of the message is an account or a key, not the text that was sent.
_OF_AN_ACCOUNT = (
    r"\b(?:account|organi[sz]ation|key|access|project|subscription|workspace|team)\b[^.,]{0,40}"
    r"\b(?:was|is|has|have|been|were|must|not)\b|"
    r"\baccept|\bagree|\bsecurity\b|\bfirewall|\bnetwork\b|\bparameter|\bunsupported"
)

RULES: Final = (
    # Groq and OpenAI: "tokens per minute: Limit 6000, Requested 9000". Waiting never helps with this one.
    Rule(ContextTooLong, frozenset({400, 413, 422, 429}), words=requests_more_than_its_limit),
    # https://console.groq.com/docs/errors: tool_use_failed, json_validate_failed, output_parse_failed; Gemini's
    # MALFORMED_FUNCTION_CALL. `failed_generation` is a field of the same errors.
    Rule(
        GenerationFailed,
        _4XX_5XX - {401, 402, 429},
        codes=_codes(
            "tooluse(?:failed|error)|toolcall(?:failed|invalid|validationfailed)|json(?:validate|generation|parse)"
            "(?:failed|error)|outputparsefailed|malformedfunctioncall|failedgeneration|generationfailed|invalidgeneration"
        ),
    ),
    # https://platform.openai.com/docs/guides/error-codes, llama.cpp's exceed_context_size_error, Copilot's
    # model_max_prompt_tokens_exceeded, GitHub Models' tokens_limit_reached, Anthropic's request_too_large, Z.ai's 1261
    Rule(
        ContextTooLong,
        _4XX_5XX,
        codes=_codes(
            "context(?:length|size|window|limit|overflow|too)|exceed(?:s|ed)?context|maxprompttokens|"
            "(?:prompt|input|messages?|request)(?:is)?too(?:long|large)|inputlimitexceeded|^1261$"
        ),
    ),
    Rule(ContextTooLong, _4XX_5XX - {429}, codes=_codes("tokens?limit(?:reached|exceeded)|maxtokensexceeded")),
    # OpenAI's content_filter, content_policy_violation, invalid_prompt; Azure's ResponsibleAIPolicyViolation;
    # OpenRouter's `flagged_input`; DashScope's DataInspectionFailed; ModelArk's SensitiveContentDetected; Z.ai's 1301
    Rule(
        ContentFiltered,
        _4XX_5XX - {429},
        codes=_codes(
            "content(?:filter|polic|moderat|management|violat|safety|existsrisk)|responsibleai|invalidprompt|moderat|"
            "flagged|datainspection|sensitivecontent|(?:prohibited|harmful|unsafe|inappropriate)content|usagepolic|"
            "(?:content|prompt|input|text|output)blocked|policyviolation|cyberpolicy|safety|guardrail|jailbreak|^1301$"
        ),
    ),
    # OpenAI: insufficient_quota, billing_hard_limit_reached, billing_not_active, credit_balance_exhausted,
    # project_spend_limit_exceeded; DashScope's Arrearage; ModelArk's AccountOverdueError; Kimi's
    # exceeded_current_quota_error; Groq's blocked_api_access, which is a spend limit; Z.ai's 1113
    Rule(
        QuotaExhausted,
        _4XX,
        codes=_codes(
            "insufficient(?:quota|balance|credit|fund)|billing|credit(?:s|balance|limit)|(?:no|outof)credits?|"
            "balance(?:insufficient|exhausted|toolow)|spend(?:ing)?limit|arrear|overdue|paymentrequired|budgetexceeded|"
            "exceededcurrentquota|blockedapiaccess|^1113$"
        ),
    ),
    # Google's quotaId "GenerateRequestsPerDay…", ModelArk's QuotaExceeded, OpenAI's organization_usage_limit_exceeded:
    # exhausted for long, unless the same reply says when to retry.
    Rule(
        QuotaExhausted,
        _4XX,
        codes=_codes("perday|permonth|quotaexceeded|quotaexhausted|quotareached|usagelimit|dailylimit|monthlylimit"),
        waiting=False,
    ),
    # OpenAI's invalid_api_key, Google's API_KEY_INVALID and UNAUTHENTICATED, Anthropic's authentication_error and
    # permission_error, Kimi's permission_denied_error, AWS's UnrecognizedClientException
    Rule(
        AuthRefused,
        _4XX - {408, 429},
        codes=_codes(
            "apikey|authentication(?:error|failed|required)|unauthenticated|permission(?:denied)?error|"
            "invalid(?:auth|credential|organization|project|subscription|signature)|mismatchedorganization|"
            "account(?:deactivated|disabled|suspended)|organization(?:restricted|disabled)|accessterminated|"
            "(?:expired|invalid)(?:access)?token|token(?:expired|invalid|revoked)|unsupportedcountry|consumersuspended|"
            "unrecognizedclient|servicedisabled"
        ),
    ),
    # OpenAI's model_not_found, Groq's model_decommissioned, Azure's DeploymentNotFound
    Rule(
        ModelNotFound,
        _4XX - {408, 429},
        codes=_codes(
            "unsupportedmodel|model(?:notfound|notsupported|notexist|doesnotexist|decommissioned|deprecated|notavailable|unavailable|retired)|"
            "(?:invalid|unknown|nosuch)model$|deploymentnotfound|endpointormodelnotfound|modelnotopen"
        ),
    ),
    # Also in a 403 (Google) or a 400 (gateways)
    Rule(
        RateLimited,
        _4XX - {401, 402, 413},
        codes=_codes(
            "rate(?:limit|exceeded|quota)|ratelimited|toomanyrequests|throttl|perminute|persecond|concurren|"
            "requestlimit|^130[23]$"
        ),
    ),
    # https://platform.openai.com/docs/guides/error-codes: this model or request does not support a field
    Rule(
        BadRequest,
        frozenset({400, 404, 405, 415, 422}),
        codes=_codes(
            "unsupported|unknown(?:parameter|argument|field)|invalid(?:json)?schema|invalidfunctionparameters"
        ),
    ),
    # Groq's capacity_exceeded, Anthropic's overloaded_error, Kimi's engine_overloaded_error
    Rule(
        ServerError,
        _4XX - {401, 402, 408, 413, 429},
        codes=_codes(
            "overloaded|capacity(?:exceeded|unavailable)|(?:resource|service|server)unavailable|model(?:loading|notready)|"
            "(?:server|engine)(?:busy|error)|internal(?:server)?(?:error|failure)|upstreamerror"
        ),
    ),
    # Words from here on.
    Rule(
        GenerationFailed,
        _5XX | {400, 422},
        words=_words(
            r"failed_generation|tool[- ]call validation failed|output (?:could not|cannot) be parsed|"
            r"failed to (?:call a function|(?:generate|validate|parse) (?:the )?(?:json|tool call|model))|"
            r"model (?:generated|produced|returned|wrote|output) (?:an? )?(?:invalid|malformed|incorrect|unparsable)"
        ),
    ),
    # "Your input was flagged", "violates our usage policies", "Content Exists Risk" (DeepSeek)
    Rule(
        ContentFiltered,
        frozenset({400, 403, 406, 422, 451}),
        words=_words(
            r"\bflagged\b|\bmoderation\b|content exists risk|responsible ?ai\b|\buse polic|usage (?:polic|guideline)|"
            r"content[ _-]?(?:management |moderation |safety |usage )?(?:polic|filter|guideline)|"
            r"safety (?:system|filter|check|polic|guideline|reason|standard)|"
            r"(?:inappropriate|harmful|unsafe|sensitive|prohibited|disallowed|offensive)[ -]"
            r"(?:content|information|text|word|material|input|language|or\b)|"
            r"\b(?:prompt|input|content|text|message|response|output)s? (?:was |is |has been )?(?:blocked|filtered)|"
            r"\b(?:prompt|input|content|text|message|request|response)s?\b[^.]{0,60}\bviolat",
            unless=_OF_AN_ACCOUNT,
        ),
    ),
    Rule(ContextTooLong, _4XX - {401, 402, 429}, words=is_overflow),
    # Only for a 500: what a gateway says about sizes concerns its own queues and buffers.
    Rule(ContextTooLong, frozenset({500}), words=lambda words: is_overflow(words) and not _OF_A_SERVER.search(words)),
    Rule(ContextTooLong, frozenset({429}), words=is_overflow_surely, waiting=False),
    # Anthropic (400): "Your credit balance is too low"; xAI (403): "doesn't have any credits"
    Rule(
        QuotaExhausted,
        _UNCLEAR,
        words=_words(
            r"credit balance|insufficient (?:account )?(?:balance|credit|fund|quota)|api usage limits|"
            r"\b(?:out of|no|enough|more|any|available|purchase|add|included) credits\b|spend(?:ing)? (?:limit|cap)|"
            r"exceeded your (?:current|monthly) quota|free (?:tier|quota|trial)\b[^.]{0,40}(?:exhausted|used up|over)|"
            r"enable billing|billing (?:is|has|account|hard|limit|details)|payment (?:is )?(?:required|method)|"
            r"\bin arrears|overdue|\brecharge|\btop[- ]up"
        ),
        waiting=False,
    ),
    Rule(
        AuthRefused,
        _UNCLEAR,
        words=_words(
            r"(?:api[ _-]?key|api token|credentials|access token)\b[^.]{0,40}\b(?:not valid|invalid|incorrect|expired|"
            r"revoked|missing|not found|required|disabled|leaked|not provided)|"
            r"(?:invalid|incorrect|expired|missing|no|unknown|valid) (?:api[ _-]?key|api tok|credentials|access tok)|"
            r"(?:account|organi[sz]ation|project) (?:is |was |has been )?(?:disabled|suspended|deactivated|banned)"
        ),
    ),
    Rule(
        ModelNotFound,
        frozenset({400, 410, 422}),
        words=_words(
            r"\bmodel\b[^;\n]{0,100}(?:(?:does not|doesn't|not) exist|not found|is not available|no longer|is unknown|"
            r"decommissioned|deprecated|has been (?:removed|retired))|not a valid model\b|"
            r"(?:no such|unknown|invalid|unrecogni[sz]ed) model\b(?! (?:param|config|option|output))",
            unless=r"\btools?\b|\bfunctions?\b|response_format|json_schema|\bparameter|\bimages?\b|\bfiles?\b",
        ),
    ),
    Rule(
        RateLimited,
        _UNCLEAR,
        words=_words(r"too many (?:\w+ )?requests|concurrency limit"),
    ),
    Rule(
        RateLimited,
        _UNCLEAR,
        words=_words(
            r"rate.?limit|too many requests|throttl|quota|limit (?:exceeded|reached)|exceeded[^.]{0,40} limit"
        ),
        waiting=True,
    ),
    Rule(
        ServerError,
        _UNCLEAR - {403},
        words=_words(
            r"\boverloaded\b|loading model|model is (?:currently |still )?loading|warming up|insufficient resources|"
            r"\b(?:resource|service|capacity|server|engine|temporarily|currently)s?\b[^.]{0,30}\bunavailable|"
            r"(?:at|no|out of|insufficient) capacity|capacity exceeded|server (?:is )?(?:too )?busy"
        ),
    ),
)
