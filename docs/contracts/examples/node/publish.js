// Publishes one CloudEvent in structured mode with kafkajs.
//
//   node publish.js BOOTSTRAP CLIENT MESSAGE.eml

const { randomUUID } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { Kafka } = require("kafkajs");

async function main([bootstrap, client, path]) {
  // For a cluster with TLS and passwords, add this:
  // ssl: true, sasl: { mechanism: "scram-sha-512", username, password }
  const kafka = new Kafka({ clientId: "newsletter", brokers: [bootstrap] });
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const event = {
    specversion: "1.0",
    id: randomUUID(), // use the same id if you submit the same mail again
    type: "com.example.newsletter.send",
    source: "/example/newsletter",
    datacontenttype: "message/rfc822",
    data_base64: readFileSync(path).toString("base64"),
  };
  const places = await producer.send({
    topic: `mail.intake.${client}`,
    acks: -1,
    messages: [
      {
        headers: { "content-type": "application/cloudevents+json" },
        value: JSON.stringify(event),
      },
    ],
  });
  for (const place of places) {
    console.log(`${place.topicName} partition ${place.partition} offset ${place.baseOffset}`);
  }
  await producer.disconnect();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`not published: ${error.message}`);
  process.exitCode = 1;
});
