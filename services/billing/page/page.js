// The billing page: requests data from the API with the key of this tab, and shows the responses.
// Strings are set as text, never as HTML, because names of mailings come from clients.
"use strict";

const STORED = "sluice-key";
const PAGE_ROWS = 200;
const NUMBERS = new Intl.NumberFormat("en");
// Label, suffix, query parameters, and the part of the file name that stands for the parameters.
const FILES = [
  ["CSV", ".csv", "", ""],
  ["CSV for European spreadsheets", ".csv", "&style=european", "-european"],
  ["XLSX", ".xlsx", "", ""],
  ["Parquet", ".parquet", "", ""],
  ["FOCUS columns, by day", ".csv", "&columns=focus&group=month,client,mailing_id,sub_client,day",
    "-focus"],
];
const COUNTERS = ["billed", "received", "delivered", "bounced", "refused", "suppressed", "expired",
  "cancelled", "deferred", "in_doubt", "returned", "complained", "unsubscribed", "forwarded", "bytes"];
const ROW_COUNTERS = COUNTERS.slice(0, 8);
const part = (id) => document.getElementById(id);
let shown = { month: "", client: "", next: null };
let asked = 0;

function say(text) {
  part("message").textContent = text;
}

function node(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function label(counter) {
  return counter.replace("_", " ");
}

async function ask(path) {
  const key = sessionStorage.getItem(STORED);
  const answer = await fetch(path, { headers: key ? { Authorization: "Bearer " + key } : {} });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
  const error = new Error(problem.detail);
  error.status = answer.status;
  throw error;
}

async function askJson(path) {
  return (await ask(path)).json();
}

function fail(error) {
  const wantsKey = error.status === 401;
  if (wantsKey) {
    const wasGiven = sessionStorage.getItem(STORED);
    sessionStorage.removeItem(STORED);
    part("counts").hidden = true;
    part("key-form").hidden = false;
    say(wasGiven ? "The key was not accepted: " + error.message + "." : "An access key is needed.");
    part("key").focus();
    return;
  }
  say("The request failed: " + error.message);
}

function usagePath(suffix) {
  const client = shown.client ? "&client=" + encodeURIComponent(shown.client) : "";
  return "v1/usage" + suffix + "?month=" + encodeURIComponent(shown.month) + client;
}

async function start() {
  try {
    const { months, present } = await askJson("v1/months");
    part("key-form").hidden = true;
    part("counts").hidden = false;
    part("forget").hidden = !sessionStorage.getItem(STORED);
    const select = part("month");
    const chosen = select.value;
    select.replaceChildren(...months.slice().reverse().map((each) => {
      const state = each.month > present ? "in the future" : each.status;
      const option = node("option", each.month + " (" + state + ")");
      option.value = each.month;
      return option;
    }));
    // Events with a wrong time may be in future months.
    const last = months.filter((each) => each.month <= present).pop();
    if (last) select.value = last.month;
    if (chosen && months.some((each) => each.month === chosen)) select.value = chosen;
    if (!months.length) {
      say("Nothing is counted yet.");
      return;
    }
    await show();
  } catch (error) {
    fail(error);
  }
}

async function show() {
  const mine = ++asked;
  shown = { month: part("month").value, client: part("client").value.trim(), next: null };
  say("Loading " + shown.month + ".");
  try {
    const days = await askJson(usagePath("") + "&group=day&limit=100");
    const months = (await askJson("v1/months")).months;
    const rows = await askJson(usagePath("") + "&limit=" + PAGE_ROWS);
    if (mine !== asked) return; // another month was chosen meanwhile
    const month = months.find((each) => each.month === shown.month) || {};
    showSummary(month, days);
    showTotals(days.totals);
    showChart(days.rows);
    fill(part("days"), "Counts by day", ["day"], ROW_COUNTERS, days.rows);
    fill(part("rows"), "Counts by mailing and sub-client", ["client", "mailing_id", "sub_client"],
      ROW_COUNTERS, rows.rows);
    keepNext(rows, rows.rows.length);
    showFiles(month);
    document.title = "Sluice billing " + shown.month;
    say(shown.month + ": " + NUMBERS.format(days.totals.billed) + " billed messages.");
    // This comes last, and nothing waits for it, because comparing a big month takes long.
    if (month.status === "closed" || month.status === "earlier") showPending(mine);
  } catch (error) {
    if (mine === asked) fail(error);
  }
}

// The caption says that rows are left out, so that it is also visible on paper.
function keepNext(page, count) {
  shown.next = page.next;
  part("more").hidden = !page.next;
  part("rows").caption.textContent = "Counts by mailing and sub-client"
    + (page.next ? ": the first " + NUMBERS.format(count) + " rows; the files have all rows" : "");
}

async function showMore() {
  const mine = asked, cursor = shown.next;
  if (!cursor) return;
  shown.next = null; // a second click must not add the same rows again
  try {
    const page = await askJson(usagePath("") + "&limit=" + PAGE_ROWS + "&cursor=" + cursor);
    if (mine !== asked) return; // another month was chosen meanwhile
    const body = part("rows").tBodies[0];
    addRows(body, ["client", "mailing_id", "sub_client"], ROW_COUNTERS, page.rows);
    keepNext(page, body.rows.length);
    say(body.rows.length + " rows are shown.");
  } catch (error) {
    if (mine !== asked) return;
    shown.next = cursor;
    fail(error);
  }
}

function showSummary(month, usage) {
  const facts = [["Month", shown.month], ["Client", shown.client || "all clients that the key may read"],
    ["Status", usage.as_of.months[0].status], ["Counts as of", usage.as_of.at]];
  if (month.closed_at) facts.push(["Closed at", month.closed_at + " (" + month.time_zone + ")"]);
  if (month.sha256) {
    facts.push(["Statement", "SHA-256 " + month.sha256 + (month.signed ? ", signed" : ", not signed")]);
  }
  if (month.lines !== undefined) facts.push(["Adjustments", adjustmentsOf(month)]);
  const list = part("summary");
  list.replaceChildren(...facts.flatMap(([name, value]) => [node("dt", name), node("dd", value)]));
  const complete = usage.complete ? "yes" : "no: " + usage.reason;
  list.append(node("dt", "Complete"), node("dd", complete, usage.complete ? "" : "warning"));
}

function adjustmentsOf(month) {
  if (!month.adjustments) return "none: no earlier month is corrected";
  return "of earlier months, not in the totals: " + sumsOf(Object.entries(month.adjusted))
    + " (" + NUMBERS.format(month.adjustments) + " lines of the statement)";
}

// Show the corrections of this month that the next statement will contain.
async function showPending(mine) {
  const client = shown.client ? "&client=" + encodeURIComponent(shown.client) : "";
  const path = "v1/adjustments?limit=1&group=month&month=" + shown.month + client;
  let text;
  try {
    const found = await askJson(path);
    text = sumsOf(Object.entries(found.totals).filter(([, number]) => Number.isInteger(number) && number))
      || "none";
    if (!found.complete) text += " (not complete: " + found.reason + ")";
  } catch (error) {
    text = "not known: " + error.message;
  }
  if (mine === asked) part("summary").append(node("dt", "Waiting for the next statement"), node("dd", text));
}

function sumsOf(entries) {
  return entries.map(([counter, number]) => label(counter) + " " + (number > 0 ? "+" : "")
    + NUMBERS.format(number)).join(", ");
}

function showTotals(totals) {
  const body = node("tbody");
  for (const counter of COUNTERS) {
    if (!totals[counter] && counter !== "billed") continue;
    const line = node("tr");
    const name = node("th", label(counter));
    name.scope = "row";
    line.append(name, node("td", NUMBERS.format(totals[counter]), "number"));
    const words = Object.entries(totals.details[counter] || {});
    line.append(node("td", words.map(([word, number]) => word + " " + NUMBERS.format(number)).join(", ")));
    body.append(line);
  }
  part("totals").replaceChildren(node("caption", "All counters of " + shown.month),
    heading(["counter", "count", "of which"], 1, 2), body);
}

function heading(names, firstNumber, afterNumber) {
  const line = node("tr");
  names.forEach((name, place) => {
    const isNumber = place >= firstNumber && place < afterNumber;
    const cell = node("th", label(name), isNumber ? "number" : "");
    cell.scope = "col";
    line.append(cell);
  });
  const head = node("thead");
  head.append(line);
  return head;
}

function fill(table, caption, keys, counters, rows) {
  const body = node("tbody");
  addRows(body, keys, counters, rows);
  const names = [...keys, ...counters];
  table.replaceChildren(node("caption", caption), heading(names, keys.length, names.length), body);
}

function addRows(body, keys, counters, rows) {
  for (const row of rows) {
    const line = node("tr");
    for (const key of keys) line.append(node("td", row[key] || "–"));
    for (const counter of counters) line.append(node("td", NUMBERS.format(row[counter]), "number"));
    body.append(line);
  }
}

function showFiles(month) {
  const client = shown.client ? "-" + shown.client.replace(/[^A-Za-z0-9-]/g, "_") : "";
  const made = FILES.map(([name, suffix, more, kind]) => [name, usagePath(suffix) + more,
    "usage-" + shown.month + client + kind + suffix]);
  if (month.lines !== undefined) {
    const path = "v1/statements/" + shown.month;
    made.push([month.signed ? "Signed statement" : "Statement, not signed", path, "statement-" + shown.month + ".json"]);
    made.push(["Lines of the statement", path + "/lines", "statement-" + shown.month + ".lines"]);
  }
  if (month.adjustments) {
    const filter = shown.client ? "&client=" + encodeURIComponent(shown.client) : "";
    made.push(["Adjustments of earlier months, CSV", "v1/adjustments.csv?statement=" + shown.month + filter,
      "adjustments-" + shown.month + client + ".csv"]);
  }
  part("files").replaceChildren(...made.map(([name, path, file]) => {
    const item = node("li");
    const button = node("button", name, "quiet");
    button.type = "button";
    button.addEventListener("click", () => download(name, path, file));
    item.append(button);
    return item;
  }));
}

async function download(name, path, file) {
  say("Downloading " + name + ".");
  try {
    const address = URL.createObjectURL(await (await ask(path)).blob());
    const link = node("a");
    link.href = address;
    link.download = file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
    say(file + " is downloaded.");
  } catch (error) {
    fail(error);
  }
}

part("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(STORED, part("key").value.trim());
  part("key").value = "";
  start();
});
part("choice").addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
part("month").addEventListener("change", show);
part("more").addEventListener("click", showMore);
part("print").addEventListener("click", () => window.print());
part("forget").addEventListener("click", () => {
  sessionStorage.removeItem(STORED);
  window.location.reload();
});
start();
