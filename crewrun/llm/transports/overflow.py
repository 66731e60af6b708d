"""Whether the message of a refusal says that the prompt exceeds the model's context.

Every server words this differently, so no sentences are listed. What counts is that a text of the request (prompt,
input, messages, tokens) or the context exceeds something, is too long, or longer than a maximum, and that this is not a
limit on tokens per time, on the answer's length (`max_tokens`), or on an image.
"""

import re

_MORE = r"(?:exceed|longer than|too (?:long|large|big|many (?:tokens|characters|words|bytes))|greater than|larger than)"
_BOUND = (
    r"(?:at most|no more than|up to|only|fewer than|less than|limited to|limit of|maximum of|above|over|"
    r"supports?|allow|but)"
)
_TEXT = (
    r"\b(?:prompt|inputs?|query|messages?|conversation|text|document|history|sequence|request (?:contains|has|body))\b"
    r"['\"`]?"
)
# "maximum context length is 8192 tokens", "exceeds the context window", "loaded with context length of only 4096"
_CONTEXT = re.compile(
    r"context[ _-]?(?:length|window|size|limit|overflow)|(?:length|size) of the context|\bn_ctx\b|context is too|"
    r"\bfit\w* (?:in|into|within) [^.;]{0,30}\bcontext\b|tokens of context"
)
_CONTEXT_IS_LESS = re.compile(
    r"exceed|longer|\btoo (?:long|large|big|many)|maximum|\bmax\b|greater|larger|\bonly\b|\bover|beyond|limit|"
    r"less than|not fit|configured|fewer|at most"
)
_SURELY = re.compile(r"\b(?:prompt|input) (?:is )?too (?:long|large)|max\w* (?:allowed )?prompt (?:length|tokens)")
_OVERFLOW = re.compile(
    "|".join(
        (
            rf"{_TEXT}[^.:;'\"`]{{0,80}}?{_MORE}",
            rf"{_TEXT}[^.:;'\"`]{{0,60}}?\btokens\b[^.:;]{{0,60}}?\b{_BOUND}\b[^.:;]{{0,30}}\d",
            rf"{_TEXT}[^.:;'\"`]{{0,60}}?\b{_BOUND}\b[^.:;\d]{{0,30}}[\d,]+ tokens\b",
            r"(?:exceed\w*|reached|over)\b[^.:;]{0,60}"
            r"(?:prompt|input|conversation|token|model)s?[ -](?:length|limit|size|tokens|count)",
            # TGI: "`inputs` tokens + `max_new_tokens` must be <= 4096"
            # DashScope: "Range of input length should be [1, 8192]"
            r"\b(?:prompt|inputs?)\b\W{0,3}(?:\w{1,20}\W{1,3}){0,2}?(?:tokens?|length)\b[^.:;]{0,60}"
            r"(?:(?:must|should) (?:be|have|not)|at most|less than)|\binputs?\b\W{1,3}must have less than",
            # OpenAI: "Invalid 'messages[1].content': string too long"
            r"messages\S{0,40}content\S{0,3} (?:string )?(?:is )?too long",
            r"(?:\btokens|\btoken (?:count|length|limit)|number of tokens)\b[^.:;]{0,60}?"
            r"(?:exceed|too (?:long|large)|longer than)|(?:too many|exceed\w*)[^.:;]{0,50}\btokens\b",
            r"max\w*(?: allowed)?(?: model)? (?:prompt|input) (?:length|size|tokens)",
            r"(?:reduce|shorten)\b[^.;]{0,40}\b(?:messages|prompt|input|conversation|context)\b|"
            r"shorter (?:prompt|input)",
            r"\brequest\b[^.:;]{0,30}too (?:large|long|big)|"
            r"(?:request|payload|body)[^.:;]{0,40}\bsize\b[^.:;]{0,40}exceed",
            r"current length is [\d,]+ while limit is",
            # context length, input length, input too long, over the maximum length
            r"上下文长度|输入长度|输入过长|超过最大长度",
        )
    )
)
_OF_A_WINDOW = re.compile(
    r"\bper[ -](?:second|minute|hour|day|week|month)|/ ?(?:sec|min|hour|day)\b|\b[rtq]p[smhd]\b|"
    r"\b(?:hourly|daily|weekly|monthly)\b|rate.?limit|try(?:ing)? again (?:in|after|later)|please wait"
)
_OF_MONEY = re.compile(r"\b(?:quota|billing|credits?|balance|upgrade|purchase|subscription)\b")
_OF_THE_ANSWER = re.compile(
    r"\bmax_?(?:completion_|new_|output_)?tokens\b|\bmax(?:imum)? (?:completion |output |new )?tokens\b|"
    r"\b(?:completion|output) tokens\b"
)
_OF_THE_PROMPT = re.compile(r"\b(?:prompts?|inputs?|context|messages|conversation|request contains)\b")
_OF_A_MEDIUM = re.compile(r"\b(?:image|audio|video|file|pdf|attachment|picture|header|cookie|uri|url|tool_call_id)s?\b")
_OF_ANOTHER_FIELD = re.compile(r"\bstop (?:sequence|word)s?\b|\bcache\b")
_OF_A_LENGTH = re.compile(r"\btokens?\b|context|\bprompt\b")
_REQUESTED = re.compile(r"\brequested\b\W{0,3}(?:about |up to )?([\d,]{1,12})")
_LIMIT = re.compile(r"\blimit\b(?: is)?\W{0,3}([\d,]{1,12})")


def is_overflow(words: str) -> bool:
    """Whether `words`, in lower case, say that the prompt does not fit the model."""
    if _OF_A_WINDOW.search(words) or _OF_ANOTHER_FIELD.search(words):
        return False
    if _CONTEXT.search(words) and _CONTEXT_IS_LESS.search(words):
        return True
    if _OF_MONEY.search(words) or not _OVERFLOW.search(words):
        return False
    if _OF_THE_ANSWER.search(words) and not _OF_THE_PROMPT.search(words):
        return False  # the answer may not be that long: max_tokens is at fault, not the prompt
    return not _OF_A_MEDIUM.search(words) or bool(_OF_A_LENGTH.search(words))


def is_overflow_surely(words: str) -> bool:
    """Like `is_overflow`, for a reply that otherwise counts as a rate limit: a mention of tokens is not enough."""
    if _OF_A_WINDOW.search(words) or _OF_MONEY.search(words):
        return False
    return bool(_SURELY.search(words) or (_CONTEXT.search(words) and _CONTEXT_IS_LESS.search(words)))


def requests_more_than_its_limit(words: str) -> bool:
    """Whether a rate limit refusal says that this request alone exceeds it: "Limit 6000, Requested 9000"."""
    requested, limit = _REQUESTED.search(words), _LIMIT.search(words)
    if requested is None or limit is None:
        return bool(re.search(r"\brequest (?:is )?too large\b", words))
    return _number(requested[1]) > _number(limit[1])


def _number(digits: str) -> int:
    return int(digits.replace(",", "") or 0)
