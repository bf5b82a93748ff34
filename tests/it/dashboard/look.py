"""Looks at the dashboard with a headless Chromium, by its DevTools protocol, and prints what it saw as
JSON. Usage: look.py URL FOLDER [--token T] [--drain POOL BACKEND] [--unheard]"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request

import websockets

PATIENCE = 60
ROWS = """[...document.querySelectorAll('.row[data-backend]')].map(row => ({
  pool: row.dataset.pool, name: row.dataset.backend,
  shown: row.querySelector('.who span').textContent,
  addr: row.querySelector('.who small').textContent,
  state: row.querySelector('.state').textContent,
  why: row.querySelector('.how small').textContent,
  weight: Number(row.querySelector('[data-label=weight]').textContent),
  active: Number(row.querySelector('[data-label=active]').textContent),
  buttons: [...row.querySelectorAll('button')].filter(b => !b.hidden).map(b => b.textContent),
}))"""


# What of the first row is cut off by its frame, or does not stand below its heading.
ASTRAY = """(() => {
  const row = document.querySelector('.row[data-backend]'), edge = row.getBoundingClientRect().right;
  const right = (node) => node.getBoundingClientRect().right;
  const cut = [...row.querySelectorAll('button, input')].filter(node => right(node) > edge).length;
  const head = row.parentNode.querySelector('.head');
  if (getComputedStyle(head).display === 'none') return cut;
  const text = (node) => { const range = document.createRange(); range.selectNodeContents(node); return right(range); };
  return cut + [2, 3, 4].filter(n => Math.abs(text(head.children[n]) - text(row.children[n])) > 1).length;
})()"""

# Lets events be cut as a network does, and notes from which one on they were asked for.
CUT = """{ const real = window.fetch; window.lasts = [];
  window.fetch = (url, how) => {
    if (!url.startsWith('/v1/events')) return real(url, how);
    const cut = new AbortController();
    window.cut = () => cut.abort(new Error('cut'));
    window.lasts.push(Number(url.split('=')[1]));
    return real(url, { ...how, signal: AbortSignal.any([how.signal, cut.signal]) });
  };
}"""
LOOKS = "performance.getEntriesByName(location.origin + '/v1/pools').length"
SHOWN = "!document.getElementById('%s').hidden"


class Page:
    def __init__(self, socket):
        self.socket, self.number, self.waiting = socket, 0, {}
        self.asked, self.faults = set(), []

    async def hear(self):
        async for text in self.socket:
            message = json.loads(text)
            if "id" in message:
                self.waiting.pop(message["id"]).set_result(message)
            elif message["method"] == "Network.requestWillBeSent":
                self.asked.add(message["params"]["request"]["url"])
            elif message["method"] == "Runtime.exceptionThrown" or (
                    message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error"):
                self.faults.append(json.dumps(message["params"])[:500])

    async def do(self, method, **params):
        self.number += 1
        answer = self.waiting[self.number] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        message = await asyncio.wait_for(answer, PATIENCE)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    async def eval(self, text):
        result = await self.do("Runtime.evaluate", expression=text, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{text}: {result['exceptionDetails']}")
        return result["result"].get("value")

    async def until(self, text):
        end = time.monotonic() + PATIENCE
        while not await self.eval(text):
            if time.monotonic() > end:
                seen = await self.eval("document.body.innerText.slice(0, 2000)")
                raise RuntimeError(f"never came true: {text}; faults {self.faults}; seen {seen}")
            await asyncio.sleep(0.05)

    async def key(self, key):
        code = {"Enter": 13, "Tab": 9}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                          windowsVirtualKeyCode=code, **(text if kind == "keyDown" else {}))


async def churn(page, seen, row):
    """Weights change all the time, each of which is a look: how far the chart says it goes back."""
    await page.eval(f"""(async () => {{
      performance.setResourceTimingBufferSize(100000);
      const from = {LOOKS}, token = sessionStorage.getItem('token');
      const headers = {{ 'Content-Type': 'application/json', ...(token && {{ Authorization: `Bearer ${{token}}` }}) }};
      const {{ pool, backend }} = document.querySelector({row}).dataset;
      for (let n = 0; n % 2 || {LOOKS} < from + 30; n++) {{
        const body = JSON.stringify({{ state: n % 2 ? 'up' : 'drain' }});
        await fetch(`/v1/pools/${{pool}}/backends/${{backend}}`, {{ method: 'PATCH', headers, body }});
        await new Promise(done => setTimeout(done, 60));
      }}
    }})()""")
    # What was asked before the last word of those is over.
    after = await page.eval(LOOKS)
    await page.until(f"{LOOKS} >= {after} + 2")
    await page.until(f"(document.querySelector({row}).querySelector('path').getAttribute('d') || '').includes('L')")
    seen["chart"] = await page.eval(f"document.querySelector({row}).querySelector('path').getAttribute('d')")
    seen["elapsed"] = await page.eval("performance.now()")


async def unheard(args, port):
    """Somebody else has the only place for events, and leaves; then they are cut in the middle."""
    seen, host = {}, args.url.split("/")[2]
    other = http.client.HTTPConnection(host)
    other.request("GET", "/v1/events")
    held = other.getresponse()
    assert held.status == 200
    async with opened(port) as page:
        await page.do("Page.addScriptToEvaluateOnNewDocument", source=CUT)
        await page.do("Page.navigate", url=args.url)
        await page.until("!!document.body && document.body.dataset.ready === '1'")
        await page.until(SHOWN % "deaf")
        # It says so at each look that follows, and that the looks themselves go well.
        steady = f"({SHOWN % 'deaf'}) && ({SHOWN % 'unknown'}) && !({SHOWN % 'lost'})"
        seen["steady"] = await page.eval(f"""(async () => {{
          const from = {LOOKS};
          let steady = true;
          while ({LOOKS} < from + 3) {{
            await new Promise(done => setTimeout(done, 50));
            steady = steady && {steady};
          }}
          return steady;
        }})()""")
        seen["deaf"] = await page.eval("document.getElementById('deaf').innerText")
        seen["unknown"] = await page.eval("document.getElementById('unknown').innerText")
        held.close()
        other.close()
        await page.until(f"!({SHOWN % 'deaf'}) && !({SHOWN % 'unknown'}) && !!document.querySelector('#events li')")
        await page.eval("document.querySelector('#events li').id = 'before'")
        count = "document.querySelectorAll('#events li').length"
        seen["before"], asked = await page.eval(count), await page.eval("window.lasts.length")
        await page.eval("window.cut()")
        await page.until(SHOWN % "deaf")
        await page.until(f"window.lasts.length > {asked} && !({SHOWN % 'deaf'})")
        seen["lasts"] = await page.eval("window.lasts")
        seen["kept"] = await page.eval("!!document.getElementById('before')")
        await page.eval("fetch('/v1/reload', { method: 'POST' })")
        await page.until(f"{count} > {seen['before']}")
        seen["after"] = await page.eval(count)
    return seen


@contextlib.asynccontextmanager
async def opened(port):
    target = json.load(urllib.request.urlopen(urllib.request.Request(
        f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")))
    async with websockets.connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
        page = Page(socket)
        hearing = asyncio.create_task(page.hear())
        for room in ("Page", "Runtime", "Network", "Log"):
            await page.do(f"{room}.enable")
        yield page
        hearing.cancel()


async def look(args, port):
    seen = {}
    async with opened(port) as page:
        await page.do("Page.navigate", url=args.url)
        if args.token:
            await page.until("!!document.getElementById('login') && !document.getElementById('login').hidden")
            seen["hidden"] = await page.eval("document.getElementById('main').hidden")
            for token in ("not the right one", args.token):
                await page.until("!document.getElementById('login').hidden")
                await page.eval("document.getElementById('token').focus()")
                await page.do("Input.insertText", text=token)
                await page.key("Enter")
                await page.until("document.getElementById('login').hidden || document.getElementById('said').textContent")
                await asyncio.sleep(0.3)
            # Those are what it is about.
            page.faults.clear()
        await page.until("!!document.body && document.body.dataset.ready === '1'")
        seen["paint"] = float(await page.eval("document.body.dataset.paint"))
        seen["rows"] = await page.eval(ROWS)
        seen["notes"] = await page.eval("document.getElementById('notes').innerText")
        await page.until("document.querySelectorAll('#events li').length > 0")
        seen["happened"] = await page.eval("document.querySelector('#events li').innerText")
        seen["run"] = await page.eval("window.run === undefined && !document.querySelector('#main img, #main script')")
        await page.do("HeapProfiler.collectGarbage")
        seen["heap"] = (await page.do("Runtime.getHeapUsage"))["usedSize"]
        if args.drain:
            row = f".row[data-pool={json.dumps(args.drain[0])}][data-backend={json.dumps(args.drain[1])}]"
            row = json.dumps(row)
            await churn(page, seen, row)
            await page.until(f"document.querySelector({row}).querySelector('.toggle').textContent === 'drain'")
            # By keyboard alone: from the place before the row to its button, there and back and there.
            await page.eval(f"document.querySelector({row}).querySelector('.toggle').focus()")
            seen["focus"] = []
            for state in ("drain", "up", "drain"):
                await page.key("Enter")
                toggle = f"document.querySelector({row}).querySelector('.toggle').getAttribute('aria-disabled') !== 'true'"
                await page.until(f"document.querySelector({row}).querySelector('.state').textContent === '{state}' && {toggle}")
                seen["focus"].append(await page.eval("document.activeElement.getAttribute('aria-label')"))
            await page.key("Tab")
            seen["next"] = await page.eval("document.activeElement.getAttribute('aria-label')")
            await page.eval(f"document.querySelector({row}).querySelector('input').select()")
            await page.do("Input.insertText", text="7")
            await page.key("Tab")
            await page.key("Enter")
            await page.until(f"document.querySelector({row}).querySelector('[data-label=weight]').textContent === '7'")
            # A field without a number is no word of the operator's.
            await page.eval(f"document.querySelector({row}).querySelector('input').value = ''")
            await page.eval(f"document.querySelector({row}).querySelector('.set').click()")
            await page.until("document.getElementById('said').textContent.includes('a whole number')")
        light = await page.eval("getComputedStyle(document.body).backgroundColor")
        await page.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        seen["dark"] = light != await page.eval("getComputedStyle(document.body).backgroundColor")
        seen["astray"] = {}
        for width in range(320, 1500, 20):
            await page.do("Emulation.setDeviceMetricsOverride", width=width, height=640, deviceScaleFactor=1, mobile=False)
            if many := await page.eval(ASTRAY):
                seen["astray"][width] = many
        await page.do("Emulation.setDeviceMetricsOverride", width=360, height=640, deviceScaleFactor=2, mobile=True)
        seen["wide"] = await page.eval("document.documentElement.scrollWidth")
        seen["asked"] = sorted({url.split("?")[0] for url in page.asked})
        seen["faults"] = list(page.faults)
        await page.do("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        await page.until("!document.getElementById('lost').hidden && document.body.classList.contains('stale')")
        seen["lost"] = await page.eval("document.getElementById('lost').innerText")
        await page.do("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        await page.until("document.getElementById('lost').hidden && !document.body.classList.contains('stale')")
    return seen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("folder")
    parser.add_argument("--token")
    parser.add_argument("--drain", nargs=2)
    parser.add_argument("--unheard", action="store_true")
    args = parser.parse_args()
    program = shutil.which("chromium") or sys.exit("no chromium: tests/run installs it")
    browser = subprocess.Popen(
        [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--no-first-run", "--disable-extensions", "--disable-background-networking",
         "--remote-debugging-port=0", f"--user-data-dir={args.folder}", "--window-size=1280,900", "about:blank"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        said, end = os.path.join(args.folder, "DevToolsActivePort"), time.monotonic() + PATIENCE
        while not (os.path.exists(said) and open(said).read().strip()):
            if browser.poll() is not None or time.monotonic() > end:
                sys.exit(f"chromium did not begin: {browser.poll()}")
            time.sleep(0.05)
        port = int(open(said).read().split()[0])
        print(json.dumps(asyncio.run((unheard if args.unheard else look)(args, port))))
    finally:
        browser.terminate()
        browser.wait()


main()
