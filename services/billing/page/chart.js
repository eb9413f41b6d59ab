// The chart of billed messages by day, drawn as SVG.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function daysOf(month) {
  const [year, number] = month.split("-").map(Number);
  return new Date(Date.UTC(year, number, 0)).getUTCDate();
}

function drawn(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// page.js defines `shown` and NUMBERS.
function showChart(rows) {
  const count = daysOf(shown.month);
  const byDay = new Map(rows.map((row) => [row.day, row.billed]));
  const most = Math.max(1, ...byDay.values());
  const top = most + most % 2; // so the label of the middle line is a whole number
  const wide = 700, high = 180, left = 60, step = (wide - left) / count;
  const chart = drawn("svg", { viewBox: `0 0 ${wide} ${high + 20}`, role: "img" });
  chart.setAttribute("aria-label", "Billed messages on each day of " + shown.month + "; at most "
    + NUMBERS.format(most) + " on a day. The table below has the numbers.");
  for (const share of [0, 0.5, 1]) {
    const y = high - share * (high - 15);
    chart.append(drawn("line", { x1: left, x2: wide, y1: y, y2: y }));
    const value = NUMBERS.format(top * share);
    chart.append(drawn("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, value));
  }
  for (let day = 1; day <= count; day += 1) {
    const name = shown.month + "-" + String(day).padStart(2, "0");
    const number = byDay.get(name) || 0;
    const tall = Math.max(number ? 1 : 0, number / top * (high - 15));
    const x = left + (day - 1) * step;
    const bar = drawn("rect", { x: x + step * 0.15, y: high - tall, width: step * 0.7, height: tall });
    bar.append(drawn("title", {}, name + ": " + NUMBERS.format(number)));
    chart.append(bar);
    if (day === 1 || day % 5 === 0) {
      chart.append(drawn("text", { x: x + step / 2, y: high + 15, "text-anchor": "middle" }, day));
    }
  }
  part("chart").replaceChildren(chart);
}
