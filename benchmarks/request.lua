-- A POST with the body that stands last on the command line.
function init(arguments)
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   wrk.body = arguments[1]
end
