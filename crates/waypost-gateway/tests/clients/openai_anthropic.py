"""The official Python clients, unchanged: chat, streams, tools, embeddings, responses, errors and retries, as one JSON."""

import json
import sys

import anthropic
import openai

base = sys.argv[1]
client = openai.OpenAI(base_url=f"{base}/v1", api_key="client", max_retries=2)
claude = anthropic.Anthropic(base_url=base, api_key="client", max_retries=2)
hi = [{"role": "user", "content": "hi"}]
seen = {}

chat = client.chat.completions.create(model="m", messages=hi)
seen["chat"] = [chat.choices[0].message.content, chat.choices[0].finish_reason, chat.usage.total_tokens]

stream = client.chat.completions.create(model="m", messages=hi, stream=True)
seen["stream"] = [[c.choices[0].delta.content, c.choices[0].finish_reason] for c in stream]

stream = client.chat.completions.create(model="m", messages=hi, stream=True, stream_options={"include_usage": True})
seen["usage"] = [c.usage.total_tokens for c in stream if c.usage]

tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
tool = client.chat.completions.create(model="m", messages=hi, tools=tools).choices[0]
seen["tools"] = [tool.finish_reason, tool.message.tool_calls[0].function.name, tool.message.tool_calls[0].function.arguments]
stream = client.chat.completions.create(model="m", messages=hi, tools=tools, stream=True)
seen["streamed tools"] = [c.choices[0].delta.tool_calls[0].function.name for c in stream if c.choices[0].delta.tool_calls]

embedded = client.embeddings.create(model="m", input=["a", "b"])
seen["embeddings"] = [item.embedding for item in embedded.data]

response = client.responses.create(model="m", input="hi")
seen["response"] = [response.output_text, response.usage.total_tokens]
seen["streamed response"] = [event.type for event in client.responses.create(model="m", input="hi", stream=True)]

message = claude.messages.create(model="m", max_tokens=9, messages=hi)
seen["message"] = [message.content[0].text, message.stop_reason, message.usage.output_tokens]
with claude.messages.stream(model="m", max_tokens=9, messages=hi) as stream:
    seen["streamed message"] = ["".join(stream.text_stream), stream.get_final_message().usage.output_tokens]


def error(call):
    try:
        call()
    except (openai.APIStatusError, anthropic.APIStatusError) as raised:
        return [type(raised).__name__, raised.status_code]
    return None


for name, ask in {
    "openai": lambda user: client.chat.completions.create(model="m", messages=hi, user=user),
    "anthropic": lambda user: claude.messages.create(model="m", max_tokens=9, messages=hi, metadata={"user_id": user}),
}.items():
    seen[f"{name} bad request"] = error(lambda: ask("400"))
    # The first two attempts fail, the third is answered, whoever makes it.
    seen[f"{name} retried"] = error(lambda: ask("flaky"))

print(json.dumps(seen, sort_keys=True))
