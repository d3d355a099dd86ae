// The official Node SDK against a running server: edits, generations, streams, errors.
// node sdk.cjs BASE_URL PHOTO.png PRIOR.png MODEL  prints what came as JSON.
const fs = require("node:fs");
const OpenAI = require("openai");

const [base, photoPath, priorPath, model] = process.argv.slice(2);
const client = new OpenAI.OpenAI({ baseURL: base, apiKey: "any", maxRetries: 0 });
const file = (path) => OpenAI.toFile(fs.createReadStream(path), "p.png", { type: "image/png" });

async function events(stream) {
  const seen = [];
  for await (const event of await stream) seen.push({ type: event.type, size: event.size, bytes: event.b64_json.length });
  return seen;
}

async function failure(call) {
  try {
    await call();
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, param: error.param, type: error.type };
  }
  return null;
}

async function main() {
  const photo = await file(photoPath);
  const edit = await client.images.edit({ model: "verax/local", image: photo, prompt: "", size: "auto" });
  const two = await client.images.edit({ model: "verax/local", image: [photo, await file(priorPath)], prompt: "" });
  const paid = await client.images.edit({ model: "verax/" + model, image: photo, prompt: "brighten, says Node" });
  const made = await client.images.generate({ model, prompt: "a lighthouse, says Node", n: 2, size: "1024x1024" });
  const models = [];
  for await (const one of client.models.list()) models.push(one.id);
  console.log(JSON.stringify({
    edit: { size: edit.verax.size, b64: edit.data[0].b64_json, verax: edit.verax.restorations[0].prior },
    two: { size: two.verax.size, verax: two.verax.restorations[0].prior },
    paid: { size: paid.verax.size, cost: paid.verax.cost_usd, tokens: paid.usage.total_tokens },
    made: made.data.length,
    models,
    editEvents: await events(client.images.edit({ model: "verax/local", image: photo, prompt: "", stream: true })),
    madeEvents: await events(client.images.generate({ model, prompt: "a harbour, says Node", stream: true })),
    wrongModel: await failure(() => client.images.edit({ model: "nonesuch", image: photo, prompt: "" })),
    noPicture: await failure(async () => client.images.edit({ model: "verax/local", image: await OpenAI.toFile(Buffer.from("x"), "p.png"), prompt: "" })),
    noPrompt: await failure(() => client.images.generate({ model, prompt: "" })),
  }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
