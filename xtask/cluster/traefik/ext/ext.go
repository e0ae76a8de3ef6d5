// Package ext stands where Traefik's vendor extends its configuration: Traefik's module refers to it by a path of its own
// repository, where it is two empty types, and which the module that is published leaves out.
package ext

// HTTP adds nothing to what the configuration of HTTP has.
type HTTP struct{}

// Router adds nothing to what a router has.
type Router struct{}
