// Command master-target runs on-premises: it owns the target disks, their journal and their points, and gives process servers their orders.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"failback/cmd/internal/metrics"
	"failback/cmd/internal/settings"
	"failback/replication"
	"failback/replication/backup"
	"failback/replication/jobs"
	"failback/replication/mastertarget"
	"failback/retention/policy"
	"failback/retention/volume"
	"failback/transport"
	"failback/transport/pki"
)

type config struct {
	state, retention, listen, operator, pki, metrics string
	scrubRate                                        string
	scrubEvery                                       time.Duration
	webhook                                          string
	allowPublic, allowShared                         bool
}

func main() {
	var c config
	cmd := &cobra.Command{
		Use:   "master-target --state DIR --listen HOST:PORT --operator unix:PATH --pki DIR",
		Short: "Receive what process servers ship, and write it into VMDKs and recovery points",
		Long: `master-target runs on-premises, next to the disks that machines come home to. Process servers in Azure dial it; it gives them their orders,
journals what they ship as recovery points on the retention volume, and moves the target disks along these points. Only it writes the disks.

Everything it does is asked for with the failback command, through --operator. All its memory is in --state (which groups, by which plans) and in
--retention (a directory per group: points, versions, moves): it may be stopped or killed at any moment, and goes on where it was.

The retention volume is a file system of its own, for journals only: no target, no state, no program, no other mount on it; not FAT, not a network's.
"failback volumes" lists what is mounted, with the verdict on each. Groups are not opened on a volume that is refused.

Make the certificates once with "failback pki init DIR"; each side needs ca.crt and the pair of its own role. The files are looked at every few seconds: renewed
certificates are used for new connections, and connections of those that ca.crl revokes end.

Peers are expected within a VPN: connections from public addresses are closed, unless --allow-public is given.`,
		Example: `  master-target --state /var/lib/failback --listen 10.1.0.4:9443 \
      --operator unix:/run/failback.sock --pki /etc/failback/pki`,
	}
	f := cmd.Flags()
	f.StringVar(&c.state, "state", "", "state directory: the catalogue of groups")
	f.StringVar(&c.retention, "retention", volume.DefaultDir, "retention volume: the groups' journals")
	f.BoolVar(&c.allowShared, "allow-shared-volume", false, "for trials: warn only where the retention volume is used for other things too, or does not last")
	f.StringVar(&c.listen, "listen", "", "HOST:PORT where process servers dial")
	f.StringVar(&c.operator, "operator", "", "unix:PATH (or HOST:PORT, with operators' certificates) where the failback command dials")
	f.StringVar(&c.pki, "pki", "", "directory with ca.crt, master-target.crt and master-target.key")
	f.StringVar(&c.scrubRate, "scrub-rate", "20MiB", "bytes a second of each journal that are read in the background, to find damage; 0: none")
	f.DurationVar(&c.scrubEvery, "scrub-every", mastertarget.DefaultScrubEvery, "time from one reading of a whole journal to the next; 0: none by itself")
	f.StringVar(&c.webhook, "alert-webhook", "", "URL that is sent each alert when it is raised, changes and is over: a JSON object by POST; https, or http at a private address")
	f.BoolVar(&c.allowPublic, "allow-public", false, "serve peers at public addresses too")
	f.StringVar(&c.metrics, "metrics", "", "HOST:PORT of metrics, health and profiles over plain HTTP; loopback is best (default: none)")
	for _, name := range []string{"state", "listen", "operator", "pki"} {
		cmd.MarkFlagRequired(name)
	}
	d := settings.Daemon{Command: cmd, Run: func(ctx context.Context, log *slog.Logger) error { return run(ctx, c, log) }}
	os.Exit(d.Main(os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, c config, log *slog.Logger) error {
	id, err := pki.Open(c.pki, pki.MasterTarget, log)
	if err != nil {
		return err
	}
	var hook *webhook
	if c.webhook != "" {
		if hook, err = newWebhook(c.webhook, c.state, log); err != nil {
			return settings.Usage(err)
		}
	}
	rate, err := rateOf(c.scrubRate)
	if err != nil {
		return err
	}
	engine, err := mastertarget.Open(mastertarget.Config{State: c.state, Retention: c.retention, AllowSharedVolume: c.allowShared, ScrubRate: rate, ScrubEvery: c.scrubEvery, Version: settings.Version().Version, Log: log, Pin: id.Pin, Certificates: id.Certificates})
	if err != nil {
		return err
	}
	operators := id
	if strings.HasPrefix(c.operator, "unix:") { // who may open the socket is an operator
		operators = nil
	}
	go id.Watch(ctx)
	keeper, err := jobs.Open(c.state, engine, log)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	defer context.AfterFunc(ctx, keeper.Stop)() // before the servers: who asked does not go by his own will then
	posts, quit := context.WithCancel(ctx)
	defer quit()
	var posting sync.WaitGroup
	if hook != nil {
		posting.Go(func() { hook.run(posts, engine) })
	}
	// Servers stop before the engine does: what they carry is made durable by their calls' ends.
	err = serve(ctx, c, engine, hook, transport.NewReplicationServer(engine, id, settings.Version().Version, log), transport.NewOperatorServer(operations{keeper, theEngine{engine}, hook}, operators, log), log)
	quit()
	posting.Wait()
	if kept := keeper.Close(); err == nil {
		err = kept
	}
	if closed := engine.Close(); err == nil {
		err = closed
	}
	log.Info("ended")
	return err
}

// operations are what operators can ask for: what takes long, with jobs that are kept of it.
type operations struct {
	*jobs.Keeper
	theEngine
	hook *webhook
}

// Support gives what the engine does, and the metrics.
func (o operations) Support(ctx context.Context, group replication.GroupID, give func(string, []byte) error) error {
	if err := o.Engine.Support(ctx, group, give); err != nil {
		return err
	}
	text, err := metrics.Text(newCollector(o.Engine, o.hook))
	if err != nil {
		text = []byte("can't be told: " + err.Error() + "\n")
	}
	return give("metrics.txt", text)
}

// Backup returns what is kept of the engine's state, with the jobs.
func (o operations) Backup(ctx context.Context) ([]byte, error) {
	f, err := o.Engine.Backup()
	if err != nil {
		return nil, err
	}
	if f.Jobs, err = o.Jobs(ctx, ""); err != nil {
		return nil, err
	}
	return backup.Encode(f)
}

// theEngine is one step further away than the keeper, so that what both have is the keeper's.
type theEngine struct{ *mastertarget.Engine }

// rateOf reads how many bytes a second are scrubbed.
func rateOf(s string) (int64, error) {
	if s == "0" {
		return 0, nil
	}
	l, err := policy.ParseLimit(s)
	if err != nil || l.IsPercent() {
		return 0, fmt.Errorf("--scrub-rate: %q is not bytes a second such as 20MiB, or 0", s)
	}
	return l.Of(0), nil
}

func serve(ctx context.Context, c config, engine *mastertarget.Engine, hook *webhook, workers, operator *grpc.Server, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	inbound, err := net.Listen("tcp", c.listen)
	if err != nil {
		return &replication.Problem{Code: "bad-address", Message: "can't listen for process servers at " + c.listen, Err: err,
			Remedy: "name by --listen HOST:PORT with an address of this machine, of which no other program has the port; :PORT for all its addresses"}
	}
	defer inbound.Close()
	operators, err := transport.ListenOperator(c.operator)
	if err != nil {
		return fmt.Errorf("listen for operators: %w", err)
	}
	defer operators.Close()
	if err := metrics.Serve(ctx, c.metrics, log, newCollector(engine, hook)); err != nil {
		return err
	}
	if !c.allowPublic {
		inbound, operators = transport.PrivateListener(inbound, log), transport.PrivateListener(operators, log)
	}
	inbound, operators = transport.BoundedListener(inbound, log), transport.BoundedListener(operators, log)
	log.Info("listening", "process_servers", inbound.Addr(), "operators", c.operator)
	ended := make(chan error, 2)
	go func() { ended <- workers.Serve(inbound) }()
	go func() { ended <- operator.Serve(operators) }()
	select {
	case <-ctx.Done():
		err = nil
	case err = <-ended:
	}
	operator.Stop()
	workers.Stop()
	return err
}
