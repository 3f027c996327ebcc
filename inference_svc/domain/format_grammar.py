"""The formats of strings that a grammar can follow, as GBNF."""

_HOUR = '([01] [0-9] | "2" [0-3])'
_TIME = f'{_HOUR} ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{{1,6}})? ("Z" | [+-] {_HOUR} ":" [0-5] [0-9])'
_DAYS = '"0" [1-9] | [12] [0-9] | "30"'
_DATE = (
    f'[0-9]{{4}} "-" (("0" [13578] | "10" | "12") "-" ({_DAYS} | "31") | ("0" [469] | "11") "-" ({_DAYS})'
    ' | "02-" ("0" [1-9] | "1" [0-9] | "2" [0-8]))'
)
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": '[0-9a-f]{8} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{12}',
}
"""Expressions for what stands between the quotes of strings of these formats."""
