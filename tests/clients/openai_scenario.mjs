// OpenAI's Node package: streams of both kinds, tools of the mesh, a stream that is gone on with, errors.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const client = new OpenAI({ maxRetries: 0 });
const workshop = { type: 'mcp', server_label: 'workshop', require_approval: 'never' };

const stream = client.responses.stream({ model: 'scripted', input: 'think' });
const events = [];
stream.on('event', (event) => events.push(event));
const response = await stream.finalResponse();
assert.equal(response.output_text, 'Here it is.');
assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, index) => index));

const rest = await client.responses.retrieve(response.id, { stream: true, starting_after: 5 });
const left = [];
for await (const event of rest) left.push(event.sequence_number);
assert.equal(left[0], 6);
assert.equal(left.at(-1), events.length - 1);

for (const [input, said] of [['progress', 'The tool said: done'], ['fail', /no luck/]]) {
  const answer = await client.responses.stream({ model: 'scripted', input, tools: [workshop] }).finalResponse();
  assert.match(answer.output_text, typeof said === 'string' ? new RegExp(said) : said);
}

const chat = client.chat.completions.stream({ model: 'scripted', messages: [{ role: 'user', content: 'hello' }] });
assert.equal(await chat.finalContent(), 'You said: hello');
await assert.rejects(client.responses.create({ model: 'scripted', input: 'break' }), { status: 503 });
await assert.rejects(client.responses.create({ model: 'nobody', input: 'hello' }), { status: 404 });
