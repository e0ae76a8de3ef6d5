module atsign.dev/other-server

go 1.25.0
