#!/bin/sh
# How the runs here were made, see README.md: crewrun of commit 2a01590 in the PATH.
set -eu
from=$(cd "$(dirname "$0")" && pwd)
mkdir /tmp/older-run && cd /tmp/older-run
cp "$from/crew.yaml" "$from/lookup.py" "$from/flow.py" .
crewrun mock --port 8799 >mock.log & mock=$!
trap 'kill $mock' EXIT
until grep -q listening mock.log; do sleep 0.1; done
# By way of a proxy the address that the requests are known by is the same on every port.
export HTTP_PROXY=http://127.0.0.1:8799 OPENAI_API_KEY=sk-test

printf '{"topic":"%s"}\n' rivers lakes "seas FAIL-400" >in.jsonl
crewrun batch in.jsonl -q || test $? = 3
printf '{"topic":"%s"}\n' oceans ponds >>in.jsonl
CRASH=1 crewrun batch in.jsonl -q -j 1 || test $? = 137

printf '{"id":"%s","to":"%s"}\n' a Ada >letters.jsonl
crewrun batch letters.jsonl --crew flow.py:Letter -q
printf '{"id":"%s","to":"%s"}\n' b Bob >>letters.jsonl
CRASH=1 crewrun batch letters.jsonl --crew flow.py:Letter -q -j 1 || test $? = 137
