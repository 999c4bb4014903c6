module planmesh

go 1.24
