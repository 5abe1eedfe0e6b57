"""How the report looks: light and dark, wide and narrow, on paper. Text only."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark;
  --ink: #1b2126; --soft: #5b6670; --line: #d9dfe4; --ground: #ffffff; --panel: #f5f7f9;
  --allowed: #2f6f9f; --denied: #c2410c; --flows: #e8a15c; --used: #9cc3de; --good: #1d7a46;
  --warn: #a15c00; --bad: #b42318;
  --mark: #7a3fb5; --none: #e6eaee; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e4e8ec; --soft: #98a4ae; --line: #37414a; --ground: #14191d; --panel: #1c2328;
  --allowed: #5fa8dc; --denied: #f0743e; --flows: #b9783a; --used: #3b647f; --good: #5cc98a;
  --warn: #e6b04d; --bad: #ff8a7a;
  --mark: #bd93f0; --none: #232b31; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 3rem; max-width: 70rem; background: var(--ground);
  color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .7rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; }
p { margin: .5rem 0; max-width: 60rem; }
.soft, .note { color: var(--soft); } .note { font-size: .88rem; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
code, .name { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; font-size: .88em;
  overflow-wrap: anywhere; }
.lead { font-size: 1.05rem; margin-top: 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .7rem;
  margin-top: 1.2rem; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.35rem; line-height: 1.3; font-weight: 600; overflow-wrap: anywhere; }
.tile span { color: var(--soft); font-size: .85rem; display: block; }
.tile .what { text-transform: uppercase; letter-spacing: .04em; font-size: .72rem; }
.chart { margin: .4rem 0 1.2rem; }
.chart .head { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; justify-content: space-between;
  font-size: .88rem; }
.legend i { display: inline-block; width: .7em; height: .7em; border-radius: 2px; margin: 0 .35em 0 1em; }
.plot { position: relative; height: 9rem; margin: .3rem 0 1.7rem 3.4rem;
  border-bottom: 1px solid var(--line); }
.plot svg { width: 100%; height: 100%; display: block; }
.plot .y, .plot .x, .plot .m { position: absolute; font-size: .75rem; color: var(--soft);
  white-space: nowrap; }
.plot .y { right: calc(100% + .5rem); transform: translateY(-50%); }
.plot .x { top: calc(100% + .25rem); transform: translateX(-50%); }
.plot .x.first { transform: none; } .plot .x.last { transform: translateX(-100%); }
.plot .m { top: -.2rem; transform: translateX(-50%); background: var(--mark); color: var(--ground);
  border-radius: 1em;
  padding: 0 .45em; font-weight: 600; }
.plot .void { position: absolute; font-size: .75rem; color: var(--soft); top: 40%; left: .6rem; right: 0;
  overflow: hidden; }
.grid { stroke: var(--line); } .allowed { fill: var(--allowed); } .denied { fill: var(--denied); }
.flows { fill: var(--flows); } .used { fill: var(--used); }
.mark { stroke: var(--mark); } .unknown { fill: var(--none); }
i.allowed { background: var(--allowed); } i.denied { background: var(--denied); }
i.flows { background: var(--flows); } i.used { background: var(--used); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: .78rem; text-transform: uppercase;
  letter-spacing: .03em; }
th, td { padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: break-word; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bar { width: 22%; } td.bar div { background: var(--denied); height: .75em; border-radius: 2px;
  margin-top: .35em; min-width: 2px; }
td.when { white-space: nowrap; color: var(--soft); } .day { white-space: nowrap; }
.tops { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 0 2.2rem; }
.tops td.bar { width: 16%; }
ol.changes { padding-left: 0; list-style: none; } ol.changes li { margin: .25rem 0; }
ol.changes b { background: var(--mark); color: var(--ground); border-radius: 1em; padding: 0 .5em;
  font-size: .78rem; margin-right: .5em; }
ul { padding-left: 1.2rem; } li { margin: .2rem 0; }
footer { margin-top: 2.5rem; padding-top: .8rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .85rem; }
@media (max-width: 44rem) {
  body { padding: 1.2rem .9rem 2rem; } .tiles { grid-template-columns: 1fr 1fr; }
  .tops { grid-template-columns: 1fr; }
  .plot { margin-left: 2.7rem; } .plot .x.some { display: none; }
  table.cards thead { display: none; } table.cards tr { display: block; padding: .5rem 0;
    border-bottom: 1px solid var(--line); }
  table.cards td { display: block; border: 0; padding: .1rem 0; text-align: left; white-space: normal; }
  table.cards td[data-label]:not(:empty)::before { content: attr(data-label) ": "; color: var(--soft); }
  td.when { display: none; } table.cards td.when { display: block; }
}
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --ground: #fff; --panel: #fff; --allowed: #2f6f9f;
    --denied: #c2410c;
    --flows: #e8a15c; --used: #9cc3de; --good: #1d7a46; --warn: #8a5000; --bad: #b42318; --mark: #5f2d94;
    --none: #e6eaee; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  @page { size: A4; margin: 13mm 12mm; }
  body { padding: 0; max-width: none; font-size: 9.5pt; } h2 { break-after: avoid; margin-top: 1.3rem; }
  h3 { break-after: avoid; } .plot { height: 7rem; }
  .chart, .tile, tr, li { break-inside: avoid; } .tiles { grid-template-columns: repeat(5, 1fr); gap: .5rem; }
  .tile { padding: .4rem .6rem; } .tile b { font-size: 1.1rem; }
  .tops { grid-template-columns: 1fr 1fr; gap: 0 1.6rem; } .tops td.when { display: none; }
  table { font-size: .88em; } th { letter-spacing: 0; text-transform: none; }
}
"""
