// Package verify is `aether verify`: what a fleet promises, proven on a cluster.
package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
	"github.com/aetherplatform/aether/internal/cli/validate"
	"github.com/aetherplatform/aether/internal/isolation"
	"github.com/aetherplatform/aether/internal/isolation/live"
	"github.com/aetherplatform/aether/internal/local"
	"github.com/aetherplatform/aether/internal/render"
)

// NewCommand returns `aether verify` with its commands.
func NewCommand(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify COMMAND",
		Short: "Prove on a cluster what a fleet promises",
		Long: `Prove on a cluster what a fleet promises. What is expected comes from the rendered
fleet, with the code that the controllers run; what is so is tried with real
connections.`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newIsolation(env))
	return cmd
}

// DefaultImage is the probe as the local platform has it.
const DefaultImage = "aetherplatform.cloud/probe:local"

// allBelow is how many namespaces are all tried unless the user says otherwise.
const allBelow = 30

// Options is what `aether verify isolation` is asked.
type Options struct {
	*cli.Env
	cli.Cluster
	Path      string
	Base      string
	Workload  string
	Plan      bool
	All       bool
	Sample    int
	Seed      uint64
	Tenant    string
	Namespace string
	Output    string
	Images    []string
	Other     string
	Also      []string
	Timeout   time.Duration
	Ready     time.Duration
}

func newIsolation(env *cli.Env) *cobra.Command {
	o := &Options{Env: env}
	cmd := &cobra.Command{
		Use:   "isolation [PATH]",
		Short: "Prove who reaches whom: every allowed path works, every other is refused",
		Long: `Prove that who reaches whom in a cluster is what the fleet at PATH says (default: the
current folder): every path that its rendered policies allow works, and every other
is refused. The matrix has a row and a column for each namespace, for the ingress
controller and for a namespace of nobody's, and columns for host names, networks,
DNS, the API server, nodes and the metadata address of clouds.

Two small Pods are made in each namespace, connect to one another and to the
outside on every port that a rule names and on one that none does, and are removed
in the end: also after Ctrl-C, and by the next run after a run that was killed. They
are never ready, so that no Service sends requests to them, and they ask for little:
` + "`5m`" + ` CPU and ` + "`16Mi`" + ` memory each, within the namespace's quota. Admission decides
about them as about any Pod; where it refuses them, nothing is proven and the exit
code is 3. Do not run two at the same time on a cluster.

A path that is refused counts only where something answers: every Pod answers
itself first, and what is outside has to answer someone who may reach it. What
nobody may reach, or what does not answer, is listed as not proven.

You need the right to create and delete pods, and to create pods/exec, in the
tenants' namespaces; to list pods, namespaces, nodes, networkpolicies,
ciliumnetworkpolicies and ciliumclusterwidenetworkpolicies; and to read the Service
and EndpointSlices of the DNS and of the API.

The exit code is 1 when anything differs, and each difference is printed with the
first policy that is to blame.`,
		Example: `  # The fleet of this repository, on the cluster of the kubeconfig
  aether verify isolation

  # What is expected, without a cluster
  aether verify isolation --plan

  # A large fleet: 20 namespaces by chance, as a page to read
  aether verify isolation --sample 20 --output html > isolation.html

  # With an image that the tenants' registries have, and a host that must stay closed
  aether verify isolation --image registry.example.com/acme/probe:v1 --also other.example.com:443`,
		Args: cli.Args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Path = "."
			if len(args) > 0 {
				o.Path = args[0]
			}
			return run(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.Plan, "plan", false, "print what is expected, and ask no cluster")
	flags.BoolVar(&o.All, "all", false, fmt.Sprintf("try every namespace (default: those of a fleet with up to %d)", allBelow))
	flags.IntVar(&o.Sample, "sample", 0, fmt.Sprintf("try so many namespaces, by chance (default: %d of a larger fleet)", allBelow))
	flags.Uint64Var(&o.Seed, "seed", 0, "choose the sample of an earlier run again")
	flags.StringVar(&o.Tenant, "tenant", "", "only what comes from or goes to this tenant")
	flags.StringVarP(&o.Namespace, "namespace", "n", "", "only what comes from or goes to this namespace")
	flags.StringVarP(&o.Output, "output", "o", "table", "table, json or html")
	flags.StringArrayVar(&o.Images, "image", nil, "`[tenant=]image` of the probe, for everyone or for a tenant; it may be repeated (default: "+DefaultImage+")")
	flags.StringVar(&o.Other, "other", "default", "`namespace` that is no tenant's and has no policies, for comparison; \"\" for none")
	flags.StringArrayVar(&o.Also, "also", nil, "`host[:port]` or address outside the cluster to try beside those that rules name; it may be repeated")
	flags.DurationVar(&o.Timeout, "timeout", 2*time.Second, "how long one connection may take; what takes longer counts as refused")
	flags.DurationVar(&o.Ready, "ready", 3*time.Minute, "how long the Pods may take to run")
	flags.StringVar(&o.Workload, "cluster", "", "verify what is placed on this workload cluster (default: the cluster that the fleet is reconciled in)")
	flags.StringVar(&o.Base, "base", "", "`directory` of the base for profiles with a sourceRef (default: base beside tenants)")
	o.AddFlags(flags)
	cli.Values(cmd, "output", "table", "json", "html")
	cli.CompleteFlag(cmd, "tenant", func(_ *cobra.Command, args []string, _ string) []string {
		return cli.TenantsIn(cli.FirstOr(args, "."))
	})
	cli.CompleteDirs(cmd)
	return cmd
}

func run(ctx context.Context, o *Options) error {
	if err := o.check(); err != nil {
		return err
	}
	checkout, err := cli.OpenCheckout(o.Path, o.Base)
	if err != nil {
		return err
	}
	result := checkout.Render(o.Workload)
	if errs := validate.Errors(result); len(errs) > 0 {
		for _, e := range errs {
			fmt.Fprintf(o.Err, "%s: %s: %s\n", checkout.Place(e.Position), e.Tenant, e.Message)
		}
		return &cli.Error{Code: cli.ExitUsage, Err: errors.New("the fleet has errors, so it is not what a cluster runs"), Try: "aether validate " + o.Path}
	}
	in := isolation.FromFleet(result, func(place string) string { return checkout.File(place) })
	if err := o.choose(&in); err != nil {
		return err
	}
	if in.Also, err = targets(o.Also); err != nil {
		return err
	}
	in.Other = o.Other
	if o.Plan {
		return o.print(isolation.New(in).Judge(nil, nil), result.Digest)
	}
	return o.prove(ctx, in, result)
}

func (o *Options) check() error {
	switch {
	case !slices.Contains([]string{"table", "json", "html"}, o.Output):
		return cli.Usage("--output table, json or html", "--output: %q is not a format", o.Output)
	case o.All && o.Sample != 0:
		return cli.Usage("leave one of them out", "--all and --sample cannot both be")
	case o.Sample < 0:
		return cli.Usage("--sample 20", "--sample: %d is not a number of namespaces", o.Sample)
	case o.Timeout <= 0 || o.Ready <= 0:
		return cli.Usage("--timeout 2s --ready 3m", "--timeout and --ready are longer than nothing")
	}
	for _, image := range o.Images {
		if _, name, ok := strings.Cut(image, "="); image == "" || ok && name == "" {
			return cli.Usage("--image acme=registry.example.com/acme/probe:v1", "--image: %q names no image", image)
		}
	}
	return nil
}

// choose takes the namespaces that the flags ask for.
func (o *Options) choose(in *isolation.Input) error {
	var names, tenants []string
	for name, tenant := range in.Tenants {
		names, tenants = append(names, name), append(tenants, tenant)
	}
	slices.Sort(names)
	slices.Sort(tenants)
	tenants = slices.Compact(tenants)
	for _, ask := range []struct {
		kind, name string
		names      []string
	}{{"tenant", o.Tenant, tenants}, {"namespace", o.Namespace, names}} {
		if ask.name != "" && !slices.Contains(ask.names, ask.name) {
			try := "`aether validate " + o.Path + "` says what there is"
			if near := cli.Nearest(ask.name, ask.names); len(near) > 0 {
				try = "did you mean " + strings.Join(near, " or ") + "?"
			}
			return cli.Usage(try, "the fleet has no %s %q", ask.kind, ask.name)
		}
	}
	wanted := func(name string) bool {
		tenant, ok := in.Tenants[name]
		return ok && (o.Tenant == "" || tenant == o.Tenant) && (o.Namespace == "" || name == o.Namespace)
	}
	if o.Tenant != "" || o.Namespace != "" {
		in.Only = wanted
	}
	size := o.Sample
	if size == 0 && !o.All && len(names) > allBelow {
		size = allBelow
	}
	if size == 0 || size >= len(names) {
		return nil
	}
	if o.Seed == 0 {
		o.Seed = uint64(o.Now().UnixNano())%1_000_000 + 1
	}
	fmt.Fprintf(o.Err, "%d of %d namespaces by chance; --seed %d chooses them again, --all takes all\n", size, len(names), o.Seed)
	dice := rand.New(rand.NewPCG(o.Seed, 0)) //nolint:gosec // a sample, not a secret
	dice.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	if in.Only != nil { // what was asked for comes first
		slices.SortStableFunc(names, func(a, b string) int {
			return boolean(wanted(b)) - boolean(wanted(a))
		})
	}
	for _, name := range names[size:] {
		delete(in.Tenants, name)
	}
	return nil
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// targets reads --also.
func targets(texts []string) ([]isolation.Target, error) {
	var out []isolation.Target
	for _, text := range texts {
		host, port, err := net.SplitHostPort(text)
		if _, whole := netip.ParseAddr(text); err != nil || whole == nil {
			host, port = text, "0"
		}
		number, err := strconv.Atoi(port)
		if err != nil || number < 0 || number > 65535 || host == "" || strings.ContainsAny(host, "/ *") {
			return nil, cli.Usage("--also other.example.com:443", "--also: %q is not a host with or without a port", text)
		}
		out = append(out, isolation.Target{Host: strings.ToLower(strings.TrimSuffix(host, ".")), Port: number})
	}
	return out, nil
}

// prove asks the cluster.
func (o *Options) prove(ctx context.Context, in isolation.Input, result *render.Result) error {
	c, config, name, err := o.connect()
	if err != nil {
		return err
	}
	notes := o.sameFleet(ctx, c, result.Digest)
	images := map[string]string{"": DefaultImage}
	for _, image := range o.Images {
		if tenant, of, ok := strings.Cut(image, "="); ok {
			images[tenant] = of
			continue
		}
		images[""] = image
	}
	nodes := map[string]map[string]string{}
	for _, t := range result.Tenants {
		if t.Object != nil {
			nodes[t.Name] = t.Object.Value.Spec.NodeSelector
		}
	}
	klog.SetLogger(logr.Discard()) // what client-go logs of a connection, it returns as well
	begun := o.Now()
	proof, err := live.Prove(ctx, in, live.Options{
		Client: c, Config: config, Image: images, NodeSelector: nodes, Timeout: o.Timeout, Ready: o.Ready, Progress: o.Err, Now: o.Now,
	})
	if ctx.Err() != nil {
		fmt.Fprintln(o.Err, "Interrupted: the Pods are removed.")
		if proof == nil && err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintln(o.Err, err)
		}
		return &cli.Error{Code: cli.ExitInterrupted}
	}
	if err != nil {
		return cli.ClusterError(err, "verify the isolation")
	}
	report := proof.Plan.Judge(proof.Seen, proof.Live)
	report.Cluster = name
	report.Notes = slices.Concat(notes, proof.Notes)
	report.Summary.Seconds = o.Now().Sub(begun).Round(100 * time.Millisecond).Seconds()
	if err := o.print(report, result.Digest); err != nil {
		return err
	}
	return o.outcome(report, proof.Missing)
}

// outcome turns the report into an exit code.
func (o *Options) outcome(report *isolation.Report, missing map[string]error) error {
	if report.Failed() {
		return cli.Findings()
	}
	unproven := 0
	for _, row := range report.Rows {
		if row.Kind == isolation.Namespace && missing[row.Name] != nil {
			unproven++
		}
	}
	if unproven > 0 {
		return &cli.Error{Code: cli.ExitCluster, Err: fmt.Errorf("nothing is proven of %s: no Pod could run there", cli.Count(unproven, "namespace")),
			Try: "read above why, and give the Pods what they need: room in the quota, or an image that may be pulled (--image)"}
	}
	return nil
}

// connect finds the cluster: that of the kubeconfig, or else the platform that runs in
// this checkout.
func (o *Options) connect() (client.Client, *rest.Config, string, error) {
	config, name, err := o.Config()
	if err != nil && os.Getenv(clientcmd.RecommendedConfigPathEnvVar) == "" {
		root, notHere := local.FindRoot(".")
		if notHere != nil {
			return nil, nil, "", err
		}
		file := filepath.Join(root, ".aether", "kubeconfig")
		if _, notUp := os.Stat(file); notUp != nil {
			return nil, nil, "", err
		}
		fmt.Fprintln(o.Err, "No cluster is configured: taking the local platform, "+file)
		o.Use(file)
		config, name, err = o.Config()
	}
	if err != nil {
		return nil, nil, "", err
	}
	c, err := o.Connect()
	return c, config, name, err
}

// sameFleet says when the cluster runs another revision than what is expected of it.
func (o *Options) sameFleet(ctx context.Context, c client.Client, digest string) []string {
	if o.Workload != "" {
		return nil
	}
	var sources v1alpha1.TenantSourceList
	if err := c.List(ctx, &sources); err != nil {
		return []string{fmt.Sprintf("whether the cluster runs this very fleet could not be seen: %v", err)}
	}
	for _, s := range sources.Items {
		if s.Status.Digest == digest {
			return nil
		}
	}
	if len(sources.Items) == 0 {
		return []string{"the cluster has no TenantSource, so whether it runs this very fleet is not known"}
	}
	note := "the cluster does not run this very fleet: it may differ for that alone; `aether get sources --output wide` shows the digest it runs"
	fmt.Fprintln(o.Err, "warning: "+note)
	return []string{note}
}

func (o *Options) print(report *isolation.Report, digest string) error {
	report.Digest = digest
	switch o.Output {
	case "json":
		encoder := json.NewEncoder(o.Out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(report)
	case "html":
		return isolation.HTML(o.Out, report)
	}
	o.table(o.Out, report)
	return nil
}
