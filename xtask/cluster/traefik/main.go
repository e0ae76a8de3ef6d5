// Traefik with only what a Gateway for TLSRoutes takes: its provider for the Gateway API, and its routers and proxies for
// TCP. All of Traefik takes the libraries of a hundred DNS hosts too, for certificates that no passthrough needs, and not
// every module proxy has all of those.
package main

import (
	"context"
	"flag"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/rs/zerolog/log"
	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/config/runtime"
	"github.com/traefik/traefik/v3/pkg/provider/kubernetes/gateway"
	"github.com/traefik/traefik/v3/pkg/safe"
	tcpmiddleware "github.com/traefik/traefik/v3/pkg/server/middleware/tcp"
	"github.com/traefik/traefik/v3/pkg/server/provider"
	tcprouter "github.com/traefik/traefik/v3/pkg/server/router/tcp"
	tcpservice "github.com/traefik/traefik/v3/pkg/server/service/tcp"
	"github.com/traefik/traefik/v3/pkg/tcp"
	"github.com/traefik/traefik/v3/pkg/tls"
)

const (
	// entryPoint is the name of the one address that is listened on.
	entryPoint = "atsigns"
	// readTimeout is Traefik's own for what a client says before it is known whom it wants.
	readTimeout = time.Minute
)

func main() {
	address := flag.String("address", "", "where to listen: a Gateway's listener must have its port")
	ip := flag.String("status-address", "", "what Gateways say that their address is")
	flag.Parse()
	// Most of Traefik logs by a context.
	zerolog.DefaultContextLogger = &log.Logger
	if err := run(*address, *ip); err != nil {
		log.Fatal().Err(err).Send()
	}
}

func run(address, ip string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	routes := &tcp.HandlerSwitcher{}
	go accept(ctx, listener, routes)

	kubernetes := &gateway.Provider{
		EntryPoints:   map[string]gateway.Entrypoint{entryPoint: {Address: address}},
		StatusAddress: &gateway.StatusAddress{IP: ip},
	}
	kubernetes.SetDefaults()
	if err := kubernetes.Init(); err != nil {
		return err
	}
	configurations := make(chan dynamic.Message, 100)
	pool := safe.NewPool(ctx)
	defer pool.Stop()
	if err := kubernetes.Provide(configurations, pool); err != nil {
		return err
	}
	certificates := tls.NewManager(nil)
	dialers := tcp.NewDialerManager(nil)
	for {
		select {
		case <-ctx.Done():
			return nil
		case message := <-configurations:
			if message.Configuration == nil {
				continue
			}
			certificates.UpdateConfigs(ctx, nil, map[string]tls.Options{"default": tls.DefaultTLSOptions}, nil)
			configuration := dynamic.Configuration{TCP: qualified(message)}
			dialers.Update(configuration.TCP.ServersTransports)
			known := runtime.NewConfig(configuration)
			services := tcpservice.NewManager(known, dialers)
			middlewares := tcpmiddleware.NewBuilder(known.TCPMiddlewares)
			routers := tcprouter.NewManager(known, services, middlewares, nil, nil, certificates, nil)
			// Those who are connected already stay with the handler that they came to.
			routes.Switch(routers.BuildHandlers(ctx, []string{entryPoint})[entryPoint])
			log.Info().Int("routers", len(configuration.TCP.Routers)).Msg("Routes are taken")
		}
	}
}

// qualified names everything after its provider, as Traefik does where it merges what several say.
func qualified(message dynamic.Message) *dynamic.TCPConfiguration {
	said, all := message.Configuration.TCP, &dynamic.TCPConfiguration{
		Routers:           map[string]*dynamic.TCPRouter{},
		Services:          map[string]*dynamic.TCPService{},
		Middlewares:       map[string]*dynamic.TCPMiddleware{},
		ServersTransports: map[string]*dynamic.TCPServersTransport{},
	}
	// What Traefik's internal provider gives to services that name none.
	standard := &dynamic.TCPServersTransport{}
	standard.SetDefaults()
	all.ServersTransports["default@internal"] = standard
	name := func(plain string) string { return provider.MakeQualifiedName(message.ProviderName, plain) }
	for plain, router := range said.Routers {
		all.Routers[name(plain)] = router
	}
	for plain, service := range said.Services {
		all.Services[name(plain)] = service
	}
	for plain, middleware := range said.Middlewares {
		all.Middlewares[name(plain)] = middleware
	}
	for plain, transport := range said.ServersTransports {
		all.ServersTransports[name(plain)] = transport
	}
	return all
}

func accept(ctx context.Context, listener net.Listener, routes tcp.Handler) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Error().Err(err).Msg("Accepting a connection")
			time.Sleep(50 * time.Millisecond)
			continue
		}
		safe.Go(func() {
			if err := connection.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
				log.Error().Err(err).Msg("Setting a deadline")
			}
			routes.ServeTCP(connection.(*net.TCPConn))
		})
	}
}
