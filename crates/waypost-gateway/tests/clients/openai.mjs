// The official Node client, unchanged: chat, streams, tools, embeddings and errors, as one JSON.

import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "client", maxRetries: 2 });
const messages = [{ role: "user", content: "hi" }];
const seen = {};

const chat = await client.chat.completions.create({ model: "m", messages });
seen.chat = [chat.choices[0].message.content, chat.choices[0].finish_reason, chat.usage.total_tokens];

seen.stream = [];
for await (const chunk of await client.chat.completions.create({ model: "m", messages, stream: true })) {
  seen.stream.push([chunk.choices[0].delta.content, chunk.choices[0].finish_reason]);
}

const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }];
const tool = (await client.chat.completions.create({ model: "m", messages, tools })).choices[0];
seen.tools = [tool.finish_reason, tool.message.tool_calls[0].function.name];

const embedded = await client.embeddings.create({ model: "m", input: ["a", "b"] });
seen.embeddings = embedded.data.map((item) => item.embedding);

for (const user of ["400", "flaky"]) {
  try {
    await client.chat.completions.create({ model: "m", messages, user });
    seen[user] = "answered";
  } catch (error) {
    seen[user] = [error.constructor.name, error.status];
  }
}

console.log(JSON.stringify(seen));
