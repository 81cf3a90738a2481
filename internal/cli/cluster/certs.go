package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
)

// CertsOptions is what `aether cluster certs` is asked.
type CertsOptions struct {
	*cli.Env
	Place
	Name   string
	Output string
}

// Certs is what json and yaml hold.
type Certs struct {
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"`
	// Generation of the authorities that is asked for.
	Generation int32 `json:"generation"`
	// Rotation is left out when the authorities do not change.
	Rotation *cpv1.Rotation `json:"rotation,omitempty"`
	// Authorities, and certificates that vouch for themselves.
	Authorities []Cert `json:"authorities"`
}

// Cert is a certificate, and what it vouches for.
type Cert struct {
	Name string `json:"name"`
	// Subject is the common name and, behind a slash, the organizations.
	Subject string `json:"subject"`
	// Names are those that a server is called by.
	Names       []string     `json:"names,omitempty"`
	NotAfter    *metav1.Time `json:"notAfter,omitempty"`
	RenewalTime *metav1.Time `json:"renewalTime,omitempty"`
	Ready       bool         `json:"ready"`
	// Message says why it is not ready.
	Message string `json:"message,omitempty"`
	Issued  []Cert `json:"issued,omitempty"`
}

func newCerts(env *cli.Env) *cobra.Command {
	o := &CertsOptions{Env: env}
	cmd := &cobra.Command{
		Use:   "certs NAME",
		Short: "Show a cluster's certificates below their authorities",
		Long: `Show a cluster's certificates below their authorities: of whom they are, when they end,
when cert-manager renews them, and how far a change of the authorities has come. Keys are
not read. The exit code is 1 when a certificate is not ready or has ended.`,
		Example: `  aether cluster certs acme-prod
  aether cluster certs acme-prod -o json | jq -r '.authorities[].issued[]? | [.notAfter, .name] | @tsv' | sort`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return certs(cmd.Context(), o)
		},
	}
	o.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.Output, "output", "o", "table", "table, json or yaml")
	cli.Values(cmd, "output", "table", "json", "yaml")
	return cmd
}

func certs(ctx context.Context, o *CertsOptions) error {
	if err := cli.CheckOutput(o.Output, "table", "json", "yaml"); err != nil {
		return err
	}
	c, err := o.Connect()
	if err != nil {
		return err
	}
	cp, err := o.Find(ctx, c, o.Name)
	if err != nil {
		return err
	}
	var list certmanager.CertificateList
	if err := c.List(ctx, &list, client.InNamespace(cp.Namespace)); err != nil {
		return cli.ClusterError(err, "list the certificates in namespace "+cp.Namespace)
	}
	report := &Certs{Cluster: cp.Name, Namespace: cp.Namespace, Generation: max(cp.Spec.PKI.Generation, 1), Rotation: cp.Status.Rotation, Authorities: tree(cp, list.Items)}
	if o.Output == "table" {
		printCerts(o, report)
	} else if err := cli.Encode(o.Out, o.Output, report); err != nil {
		return err
	}
	if len(report.Authorities) == 0 || slices.ContainsFunc(report.Authorities, func(a Cert) bool {
		return a.wrong(o.Now()) || slices.ContainsFunc(a.Issued, func(l Cert) bool { return l.wrong(o.Now()) })
	}) {
		return cli.Findings()
	}
	return nil
}

// tree puts the certificates that a control plane owns below those that issued them.
func tree(cp *cpv1.AetherControlPlane, all []certmanager.Certificate) []Cert {
	prefix := cp.Name + "-pki-"
	issued := map[string][]Cert{}
	var roots []Cert
	slices.SortFunc(all, func(a, b certmanager.Certificate) int { return strings.Compare(a.Name, b.Name) })
	authorities := map[string]bool{}
	for i := range all {
		authorities[all[i].Name] = all[i].Spec.IsCA
	}
	for i := range all {
		c := &all[i]
		if !metav1.IsControlledBy(c, cp) {
			continue
		}
		cert := certOf(c, prefix)
		if authorities[c.Spec.IssuerRef.Name] {
			issued[strings.TrimPrefix(c.Spec.IssuerRef.Name, prefix)] = append(issued[strings.TrimPrefix(c.Spec.IssuerRef.Name, prefix)], cert)
		} else {
			roots = append(roots, cert)
		}
	}
	for i := range roots {
		roots[i].Issued = issued[roots[i].Name]
	}
	return roots
}

func certOf(c *certmanager.Certificate, prefix string) Cert {
	cert := Cert{
		Name: strings.TrimPrefix(c.Name, prefix), Subject: c.Spec.CommonName, Names: slices.Concat(c.Spec.DNSNames, c.Spec.IPAddresses),
		NotAfter: c.Status.NotAfter, RenewalTime: c.Status.RenewalTime, Message: "cert-manager has not looked at it yet",
	}
	if c.Spec.Subject != nil && len(c.Spec.Subject.Organizations) > 0 {
		cert.Subject += " / " + strings.Join(c.Spec.Subject.Organizations, ", ")
	}
	for _, condition := range c.Status.Conditions {
		if condition.Type == certmanager.CertificateConditionReady {
			cert.Ready, cert.Message = condition.Status == cmmeta.ConditionTrue, condition.Message
		}
	}
	if cert.Ready {
		cert.Message = ""
	}
	return cert
}

// wrong is whether somebody has to look at it.
func (c *Cert) wrong(now time.Time) bool {
	return !c.Ready || c.NotAfter != nil && !now.Before(c.NotAfter.Time)
}

func printCerts(o *CertsOptions, report *Certs) {
	fmt.Fprintf(o.Out, "%s, authorities of generation %d\n", report.Cluster, report.Generation)
	if r := report.Rotation; r != nil {
		fmt.Fprintf(o.Out, "%s for %s: %s\n", o.Paint(cli.Wait, string(r.Phase)+" generation "+fmt.Sprint(r.Generation)), o.Age(r.Since.Time), r.Message)
	}
	fmt.Fprintln(o.Out)
	if len(report.Authorities) == 0 {
		fmt.Fprintln(o.Out, "There are no certificates yet.")
		return
	}
	table := cli.NewTable("CERTIFICATE", "SUBJECT", "ENDS IN", "RENEWED IN", "READY", "STATUS")
	add := func(branch string, c *Cert) {
		ready := cli.Cell{Text: "True", Style: cli.Good}
		if c.wrong(o.Now()) {
			ready = cli.Cell{Text: "False", Style: cli.Bad}
		}
		table.Add(cli.Text(branch+c.Name), cli.Text(c.Subject), cli.Text(o.until(c.NotAfter)), cli.Text(o.until(c.RenewalTime)), ready, cli.Text(c.Message))
	}
	for i := range report.Authorities {
		a := &report.Authorities[i]
		add("", a)
		for j := range a.Issued {
			branch := "├─ "
			if j == len(a.Issued)-1 {
				branch = "└─ "
			}
			add(branch, &a.Issued[j])
		}
	}
	table.Print(o.Out, o.Color)
}

// until is how long it is to a moment.
func (o *CertsOptions) until(t *metav1.Time) string {
	switch {
	case t == nil:
		return "-"
	case !o.Now().Before(t.Time):
		return "over"
	}
	return duration.HumanDuration(t.Sub(o.Now()))
}
