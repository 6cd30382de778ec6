-- Sends each request of the file REQUESTS once and writes every reply to the file REPLIES, to be checked afterwards.
local requests, sent, replies = {}, 0, nil

function init(args)
  local file = assert(io.open(os.getenv("REQUESTS"), "rb"))
  local text = file:read("*a")
  file:close()
  local position = 1
  while position <= #text do
    local _, line_end, size = text:find("^(%d+)\n", position)
    requests[#requests + 1] = text:sub(line_end + 1, line_end + size)
    position = line_end + size + 1
  end
  replies = assert(io.open(os.getenv("REPLIES"), "wb"))
end

function request()
  sent = sent + 1
  if sent > #requests then
    error("all " .. #requests .. " requests are sent: make more")
  end
  return requests[sent]
end

function response(status, headers, body)
  replies:write(status, " ", #body, "\n", body)
end
