// Vercel's AI SDK, over responses and over chat completions.
import assert from 'node:assert/strict';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const mine = tool({
  description: 'Do what is mine.',
  inputSchema: jsonSchema({ type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] }),
  execute: async ({ a }) => `mine did ${a}`,
});

for (const model of [openai('scripted'), openai.chat('scripted')]) {
  const answer = await generateText({ model, prompt: 'hello', maxRetries: 0 });
  assert.equal(answer.text, 'You said: hello');
  assert.ok(answer.usage.totalTokens > 0);
  let said = '';
  for await (const text of streamText({ model, prompt: 'think', maxRetries: 0 }).textStream) said += text;
  assert.equal(said, 'Here it is.');
  const called = await generateText({
    model, prompt: 'only mine', tools: { mine }, stopWhen: stepCountIs(3), maxRetries: 0,
  });
  assert.equal(called.text, 'The tool said: mine did 1');
  const thought = await generateText({ model, prompt: 'think', maxRetries: 0 });
  const before = [{ role: 'user', content: 'think' }, ...thought.response.messages];
  const further = await generateText({ model, messages: [...before, { role: 'user', content: 'more' }], maxRetries: 0 });
  assert.equal(further.text, 'You said: more');
  await assert.rejects(generateText({ model, prompt: 'break', maxRetries: 0 }));
}
