-- The requests of flood.sh, made before they are sent: what is measured is the service.
local body = '{"tickets":[{"quick_pick":true}],"payment":"wallet"}'
local keyed = (os.getenv("KEYED") or "") ~= ""
local run = os.time() .. "-" .. tostring(os.getenv("TOKENS")):gsub("%W", "") .. "-"
local requests, sent = {}, 0

function init()
  for token in io.lines(os.getenv("TOKENS")) do
    local head = "POST /api/v1/draws/" .. os.getenv("DRAW") .. "/tickets HTTP/1.1\r\nHost: lottery\r\n"
      .. "Content-Type: application/json\r\nContent-Length: " .. #body .. "\r\nAuthorization: Bearer " .. token .. "\r\n"
    requests[#requests + 1] = keyed and (head .. "Idempotency-Key: ") or (head .. "\r\n" .. body)
  end
end

function request()
  sent = sent + 1
  local request = requests[sent % #requests + 1]
  if keyed then
    return request .. run .. sent .. "\r\n\r\n" .. body
  end
  return request
end
