// Submits messages with nodemailer over pooled connections.
//
//   SLUICE_PASSWORD=... node submit_nodemailer.js HOST PORT tls|starttls CLIENT SENDER \
//       RECIPIENT MESSAGE [RECIPIENT MESSAGE]...
//
// MESSAGE.eml is sent unchanged; MESSAGE.json contains nodemailer's own fields (subject, text, ...).

const { readFileSync } = require("node:fs");
const nodemailer = require("nodemailer");

function mail(sender, recipient, path) {
  if (path.endsWith(".json")) {
    return { from: sender, to: recipient, ...JSON.parse(readFileSync(path, "utf8")) };
  }
  return { envelope: { from: sender, to: recipient }, raw: readFileSync(path) };
}

async function main([host, port, tls, client, sender, ...rest]) {
  const transport = nodemailer.createTransport({
    host,
    port: Number(port),
    secure: tls === "tls", // TLS from the first byte on
    requireTLS: true, // otherwise require STARTTLS
    auth: { user: client, pass: process.env.SLUICE_PASSWORD },
    pool: true,
    maxConnections: 5,
    maxMessages: Infinity,
  });
  const sent = [];
  for (let at = 0; at < rest.length; at += 2) {
    sent.push(transport.sendMail(mail(sender, rest[at], rest[at + 1])));
  }
  for (const result of await Promise.allSettled(sent)) {
    if (result.status === "fulfilled") {
      console.log(result.value.response); // 250 2.0.0 Ok: queued as <mail id>
    } else {
      // responseCode 4xx: submit the message again later. responseCode 5xx: the message is refused;
      // the response contains the reason.
      console.log(result.reason.response ?? result.reason.message);
      process.exitCode = result.reason.responseCode >= 500 ? 1 : 75;
    }
  }
  transport.close();
}

main(process.argv.slice(2));
