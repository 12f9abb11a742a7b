// What Node reads in each text: one base64 text a line comes in, one line of JSON goes out, null where it is refused.
import { readFileSync } from 'node:fs';

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

function read(text) {
    let value;
    try {
        value = JSON.parse(text);
    } catch {
        return null;
    }
    if (!isObject(value)) return { top: null, events: [] };
    const batch = Array.isArray(value.batch) ? value.batch : [];
    const events = batch.filter((event) => isObject(event) && 'writeKey' in event);
    return { top: value.writeKey ?? null, events: events.map((event) => event.writeKey) };
}

for (const line of readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
    console.log(JSON.stringify(read(Buffer.from(line, 'base64').toString('utf8'))));
}
