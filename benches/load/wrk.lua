-- What wrk sends, and its summary as one line of JSON. Arguments: "browser", "close" and "statuses",
-- any order. The request is fixed, so no Lua runs per request; but with "statuses", which counts
-- each answer by its status, it runs for each answer.
local browser = {
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
  ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  ["Accept-Language"] = "en-GB,en;q=0.7,de;q=0.3",
  ["Accept-Encoding"] = "gzip, deflate, br, zstd",
  ["Referer"] = "http://www.example.com/articles/2026/11/a-page-with-a-long-name.html",
  ["Cookie"] = "sid=3f2b9c0d7e6a4815b2c1d0e9f8a7b6c5; theme=dark; consent=2026-11-01T08:00:00Z; _ab=variant-7",
  ["DNT"] = "1",
  ["Sec-GPC"] = "1",
  ["Upgrade-Insecure-Requests"] = "1",
  ["Sec-Fetch-Dest"] = "document",
  ["Sec-Fetch-Mode"] = "navigate",
  ["Sec-Fetch-Site"] = "same-origin",
  ["Sec-Fetch-User"] = "?1",
  ["Priority"] = "u=0, i",
}

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local headers = {}
  for _, word in ipairs(args) do
    if word == "browser" then
      for name, value in pairs(browser) do headers[name] = value end
    elseif word == "close" then
      headers["Connection"] = "close"
    elseif word == "statuses" then
      statuses = {}
      response = function(status) statuses[status] = (statuses[status] or 0) + 1 end
    end
  end
  local fixed = wrk.format(nil, nil, headers)
  request = function() return fixed end
end

-- Every thread's counts together, as the inside of a JSON object.
local function counted()
  local sums, parts = {}, {}
  for _, thread in ipairs(threads) do
    for status, n in pairs(thread:get("statuses") or {}) do sums[status] = (sums[status] or 0) + n end
  end
  for status, n in pairs(sums) do table.insert(parts, string.format('"%d":%d', status, n)) end
  return table.concat(parts, ",")
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"bytes":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"socket":%d,"timeout":%d,"p50":%.1f,"p99":%.1f,"max":%.1f,"statuses":{%s}}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, e.status, e.connect, e.read, e.write, e.connect + e.read + e.write,
    e.timeout, latency:percentile(50), latency:percentile(99), latency.max, counted()))
end
