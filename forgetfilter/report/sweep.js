// What another value of the rule's setting would drop. Every name enters the page as text.
const sweep = JSON.parse(document.getElementById("sweep").dataset.sweep), slider = document.getElementById("sweep-at");
const whole = count => Math.round(count).toLocaleString("en"), brief = value => String(Number(value.toPrecision(4)));

function tell_sweep() {
  const at = Number(slider.value), dropped = sweep.dropped[at], all = dropped + sweep.kept[at], more = dropped - sweep.present;
  const said = [`It would drop ${whole(dropped)} of ${whole(all)} rows (${(100 * dropped / all).toFixed(1)}%)`];
  if (at === sweep.now) said[0] = said[0].replace("It would drop", "This is the setting of the decision. It drops");
  else said[0] += more ? `, ${whole(Math.abs(more))} ${more > 0 ? "more" : "fewer"} than the decision` : ", as many as the decision";
  const probes = sweep.by_probes, labels = sweep.by_label;
  if (probes && probes.unsafe_left[at] !== null) said.push(`By the estimate of the probes, ${whole(probes.unsafe_left[at])} (${whole(probes.unsafe_left_low[at])} to ${whole(probes.unsafe_left_high[at])}) unsafe rows would be left, and ${whole(probes.good_lost[at])} good rows lost`);
  if (labels) said.push(`By the labels, ${whole(labels.unsafe_left[at])} of ${whole(labels.unsafe)} unsafe rows would be left, and ${whole(labels.good_lost[at])} of ${whole(labels.good)} good rows lost`);
  document.getElementById("sweep-value").textContent = brief(sweep.values[at]);
  document.getElementById("sweep-said").textContent = said.join(". ") + ".";
  slider.setAttribute("aria-valuetext", `${sweep.name} ${brief(sweep.values[at])}, ${whole(dropped)} rows dropped`);
  document.getElementById("sweep-command").textContent = sweep.command + sweep.values[at];
  document.getElementById("sweep-apply").hidden = at === sweep.now;
  document.getElementById("sweep-sources").replaceChildren(...sweep.sources.map(one => make("tr", {},
    make("td", {class: "name"}, make("bdi", {}, one.name)), ...[one.rows, one.now, one.dropped[at]].map(count => make("td", {class: "n"}, whole(count))))));
}
slider.addEventListener("input", tell_sweep);
document.getElementById("sweep-back").addEventListener("click", () => { slider.value = slider.defaultValue; tell_sweep(); });
document.getElementById("sweep-tool").hidden = false;
document.getElementById("sweep-all").open = false;
tell_sweep();
