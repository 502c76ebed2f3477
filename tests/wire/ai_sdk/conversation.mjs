// Vercel's AI SDK against a running server: one line of JSON for each thing it was asked to do.
// Usage: node conversation.mjs URL KEY MODEL

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const [url, apiKey, name] = process.argv.slice(2);
const mainspring = createOpenAICompatible({
  name: "mainspring", baseURL: `${url}/v1`, apiKey, includeUsage: true, supportsStructuredOutputs: true,
});
const model = mainspring(name);
const say = (what, rest) => console.log(JSON.stringify({ what, ...rest }));
const weather = tool({
  description: "Weather.",
  inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] }),
  execute: async ({ city }) => `sunny in ${city}`,
});

const whole = await generateText({ model, prompt: "good day", maxRetries: 0 });
say("text", { text: whole.text, finish: whole.finishReason, usage: whole.usage });

const stream = streamText({ model, prompt: "good day", maxRetries: 0 });
let pieces = 0, text = "";
for await (const piece of stream.textStream) { pieces += 1; text += piece; }
say("stream", { text, pieces, finish: await stream.finishReason, usage: await stream.usage });

const steps = await generateText({ model, prompt: "weather?", tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0 });
say("tools", { text: steps.text, steps: steps.steps.length, calls: steps.steps[0].toolCalls.map((call) => call.input) });

const streamed = streamText({ model, prompt: "weather?", tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0 });
say("stream tools", { text: await streamed.text, calls: (await streamed.steps)[0].toolCalls.map((call) => call.input) });

const schema = jsonSchema({
  type: "object", properties: { name: { type: "string" }, people: { type: "integer" } }, required: ["name", "people"],
});
say("object", { object: (await generateObject({ model, prompt: "a city", schema, maxRetries: 0 })).object });

if (name.startsWith("openai/")) {
  const { embeddings } = await embedMany({ model: mainspring.textEmbeddingModel(name), values: ["one", "two"] });
  say("embeddings", { count: embeddings.length, dimensions: embeddings[0].length });
}

try {
  await generateText({ model: mainspring("openai/t+status=429+retry_after=7"), prompt: "hi", maxRetries: 0 });
  say("refusal", { error: null });
} catch (error) {
  say("refusal", { error: error.name, status: error.statusCode, retryable: error.isRetryable });
}

const broken = streamText({
  model: mainspring("openai/t+words=9+cut=content"), prompt: "hi", maxRetries: 0, onError: () => {},
});
const kinds = [];
try {
  for await (const part of broken.fullStream) { kinds.push(part.type); }
} catch (error) {
  kinds.push("error");
}
say("broken", { kinds: [...new Set(kinds)] });
