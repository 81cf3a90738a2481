package fleet

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/prose"
)

// This file holds what one object can be checked for and its schema cannot say.

// platformKey matches the labels and annotations that the platform sets.
var platformKey = regexp.MustCompile(`^([^/]*\.)?(kubernetes\.io|k8s\.io|aetherplatform\.cloud|cilium\.io|fluxcd\.io)/`)

func checkMeta(f *findings, o metav1.Object) {
	f.labels("metadata.labels", o.GetLabels())
	f.annotations("metadata.annotations", o.GetAnnotations())
	for _, key := range append(sortedKeys(o.GetLabels()), sortedKeys(o.GetAnnotations())...) {
		if platformKey.MatchString(key) {
			list := "metadata.labels"
			if _, ok := o.GetLabels()[key]; !ok {
				list = "metadata.annotations"
			}
			f.at(keyed(list, key), "is set by the platform; use a prefix of your own, such as example.com/team")
		}
	}
}

func checkTenant(f *findings, t *v1alpha1.Tenant) {
	switch {
	case t.Name == f.directory.name:
	case len(validation.IsDNS1035Label(f.directory.name)) > 0:
		f.at("metadata.name", fmt.Sprintf("%q is not what the directory is called, and no tenant can be called %q; rename it to %s/", t.Name, f.directory.name, t.Name))
	default:
		f.at("metadata.name", fmt.Sprintf("%q is not what the directory is called; write %s, or move the file to %s/", t.Name, f.directory.name, t.Name))
	}
	for i, peer := range t.Spec.Network.Peers {
		if peer.Tenant == t.Name {
			f.at(fmt.Sprintf("spec.network.peers[%d].tenant", i), "is the tenant itself, whose namespaces may name each other anyway; remove it")
		}
	}
	f.allowed("spec", t.Spec.Registries, t.Spec.Hostnames, t.Spec.StorageClasses, t.Spec.PriorityClasses)
	if q := t.Spec.Quota; q != nil {
		f.quota("spec.quota.hard", q.Hard)
	}
	f.labels("spec.nodeSelector", t.Spec.NodeSelector)
	f.egress("spec.network.egress", t.Spec.Network.Egress)
}

func checkNamespace(f *findings, n *v1alpha1.TenantNamespace) {
	f.owner(n.Spec.Tenant)
	f.labels("spec.labels", n.Spec.Labels)
	f.annotations("spec.annotations", n.Spec.Annotations)
	f.ingress("spec.network.ingress", n.Spec.Network.Ingress)
	f.egress("spec.network.egress", n.Spec.Network.Egress)
	for i := range n.Spec.Secrets {
		f.secret(fmt.Sprintf("spec.secrets[%d]", i), &n.Spec.Secrets[i])
	}
	if g := n.Spec.GitOps; g != nil {
		f.check("spec.gitops.url", checkURL(g.URL))
		f.check("spec.gitops.branch", checkBranch(g.Branch))
		if g.SecretName != "" {
			f.objectName("spec.gitops.secretName", g.SecretName)
		}
	}
	if o := n.Spec.Overrides; o != nil {
		f.quota("spec.overrides.quota", o.Quota)
		f.limits("spec.overrides.limits", o.Limits)
	}
}

func checkCluster(f *findings, c *v1alpha1.WorkloadCluster) {
	f.owner(c.Spec.Tenant)
	network := c.Spec.Network
	f.check("spec.network.podCIDR", checkRange(network.PodCIDR))
	f.check("spec.network.serviceCIDR", checkRange(network.ServiceCIDR))
	if overlap(network.PodCIDR, network.ServiceCIDR) {
		f.at("spec.network.serviceCIDR", fmt.Sprintf("%s overlaps with podCIDR %s; use ranges apart", network.ServiceCIDR, network.PodCIDR))
	}
	if network.Domain != "" {
		f.objectName("spec.network.domain", network.Domain)
	}
	public := c.Spec.Endpoint.Public
	if public.Host != "" {
		f.objectName("spec.endpoint.public.host", public.Host)
	}
	for i, cidr := range public.AuthorizedNetworks {
		f.check(fmt.Sprintf("spec.endpoint.public.authorizedNetworks[%d]", i), checkRange(cidr))
	}
	if s := c.Spec.ControlPlane.Etcd.Storage; s != nil && s.Sign() <= 0 {
		f.at("spec.controlPlane.etcd.storage", "is not above zero; write a quantity such as 8Gi")
	}
	for i, pool := range c.Spec.NodePools {
		at := fmt.Sprintf("spec.nodePools[%d]", i)
		if len(validation.IsDNS1123Label(pool.Name)) > 0 {
			f.at(at+".name", fmt.Sprintf("%q is no name; use lower-case letters, digits and '-'", pool.Name))
		}
		f.labels(at+".labels", pool.Labels)
	}
}

func checkProfile(f *findings, p *v1alpha1.NamespaceProfile) {
	for _, name := range sortedKeys(p.Spec.Sizes) {
		at := keyed("spec.sizes", name)
		if len(validation.IsDNS1123Label(name)) > 0 {
			f.at(at, fmt.Sprintf("%q is no size's name; use lower-case letters, digits and '-'", shorten(name)))
		}
		f.quota(at+".quota", p.Spec.Sizes[name].Quota)
		f.limits(at+".limits", p.Spec.Sizes[name].Limits)
	}
	for _, name := range sortedKeys(p.Spec.Roles) {
		for i, rule := range p.Spec.Roles[name] {
			at := fmt.Sprintf("%s[%d]", keyed("spec.roles", name), i)
			switch {
			case len(rule.Verbs) == 0:
				f.at(at+".verbs", "is missing; list verbs such as get, list and watch")
			case len(rule.NonResourceURLs) > 0:
				f.at(at+".nonResourceURLs", "are not a namespace's; write apiGroups and resources")
			case len(rule.APIGroups) == 0 || len(rule.Resources) == 0:
				f.at(at, "names no resources; write apiGroups and resources")
			}
			if field, message := unbounded(rule); field != "" {
				f.at(at+field, message)
			}
		}
	}
	f.labels("spec.labels", p.Spec.Labels)
	f.annotations("spec.annotations", p.Spec.Annotations)
	for i := range p.Spec.Exceptions {
		f.exception(fmt.Sprintf("spec.exceptions[%d]", i), &p.Spec.Exceptions[i].ExceptionSpec)
	}
	f.labels("spec.ingressController.podLabels", p.Spec.IngressController.PodLabels)
	if len(validation.IsDNS1123Label(p.Spec.IngressController.Namespace)) > 0 {
		f.at("spec.ingressController.namespace", fmt.Sprintf("%q is no namespace's name; use lower-case letters, digits and '-'", p.Spec.IngressController.Namespace))
	}
}

func checkException(f *findings, e *v1alpha1.TenantException) {
	f.exception("spec", &e.Spec)
}

// exception checks what a TenantException or a profile grants.
func (f *findings) exception(at string, e *v1alpha1.ExceptionSpec) {
	if len(validation.IsDNS1035Label(e.Tenant)) > 0 {
		f.at(at+".tenant", fmt.Sprintf("%q is no tenant's name; write metadata.name of a Tenant", shorten(e.Tenant)))
	}
	for i, name := range e.Namespaces {
		if len(validation.IsDNS1123Label(name)) > 0 {
			f.at(fmt.Sprintf("%s.namespaces[%d]", at, i), fmt.Sprintf("%q is no namespace's name; write names such as acme-web, or leave the list out for all namespaces", shorten(name)))
		}
	}
	f.allowed(at+".allow", e.Allow.Registries, e.Allow.Hostnames, e.Allow.StorageClasses, e.Allow.PriorityClasses)
}

// allowed checks what a tenant may use.
func (f *findings) allowed(at string, registries, hostnames, storageClasses, priorityClasses []string) {
	for i, registry := range registries {
		f.check(fmt.Sprintf("%s.registries[%d]", at, i), checkRegistry(registry))
	}
	for i, host := range hostnames {
		f.check(fmt.Sprintf("%s.hostnames[%d]", at, i), checkLabelLengths(host))
	}
	for i, name := range storageClasses {
		f.objectName(fmt.Sprintf("%s.storageClasses[%d]", at, i), name)
	}
	for i, name := range priorityClasses {
		f.objectName(fmt.Sprintf("%s.priorityClasses[%d]", at, i), name)
	}
}

// Shortest durations: what is shorter would load Git servers and OpenBao, or
// make retention a slip of the pen.
const (
	minInterval = 30 * time.Second
	minRefresh  = 10 * time.Second
)

// durations checks Go durations, which the schema holds as text, before the
// object is read from its fields.
func (f *findings) durations(kind string, content map[string]any) {
	spec, _ := content["spec"].(map[string]any)
	switch kind {
	case v1alpha1.KindTenant:
		deletion, _ := spec["deletion"].(map[string]any)
		f.duration("spec.deletion.retention", deletion["retention"], 0)
	case v1alpha1.KindTenantNamespace:
		gitops, _ := spec["gitops"].(map[string]any)
		f.duration("spec.gitops.interval", gitops["interval"], minInterval)
		secrets, _ := spec["secrets"].([]any)
		for i, s := range secrets {
			secret, _ := s.(map[string]any)
			f.duration(fmt.Sprintf("spec.secrets[%d].refreshInterval", i), secret["refreshInterval"], minRefresh)
		}
	}
}

func (f *findings) duration(at string, value any, least time.Duration) {
	text, ok := value.(string)
	if !ok {
		return
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		f.at(at, fmt.Sprintf("%q is not a duration; write a number with a unit, such as 30s, 5m or 720h", shorten(text)))
	case d < least:
		f.at(at, fmt.Sprintf("%s is too short; write %s or more", shorten(text), least))
	}
}

// check reports a message, if there is one.
func (f *findings) check(at, message string) {
	if message != "" {
		f.at(at, message)
	}
}

// owner wants the directory's tenant.
func (f *findings) owner(tenant string) {
	if tenant != f.directory.name {
		f.at("spec.tenant", fmt.Sprintf("%q is not the tenant of this directory; write %s, or move the file to %s/", tenant, f.directory.name, tenant))
	}
}

// keyed is the path of a key in a map: keys may hold dots.
func keyed(path, key string) string {
	if strings.ContainsAny(key, "./[]") {
		return path + "[" + key + "]"
	}
	return path + "." + key
}

func (f *findings) labels(at string, labels map[string]string) {
	for _, key := range sortedKeys(labels) {
		for _, err := range metav1validation.ValidateLabels(map[string]string{key: labels[key]}, nil) {
			f.at(keyed(at, key), fmt.Sprintf("%q: %s", err.BadValue, withoutExamples(err.Detail)))
		}
	}
}

func (f *findings) annotations(at string, annotations map[string]string) {
	for _, key := range sortedKeys(annotations) {
		for _, err := range apivalidation.ValidateAnnotations(map[string]string{key: ""}, nil) {
			f.at(keyed(at, key), withoutExamples(err.Detail))
		}
	}
	if err := apivalidation.ValidateAnnotationsSize(annotations); err != nil {
		f.at(at, err.Error()+"; shorten them")
	}
}

// withoutExamples leaves out the regular expression of a message of Kubernetes'.
func withoutExamples(detail string) string {
	text, _, _ := strings.Cut(detail, " (e.g. ")
	return text
}

func (f *findings) objectName(at, name string) {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		f.at(at, fmt.Sprintf("%q is no name; use lower-case letters, digits, '-' and '.'", shorten(name)))
	}
}

// quotaNames are the resources without a domain that a ResourceQuota knows.
var quotaNames = []string{
	"configmaps", "cpu", "ephemeral-storage", "limits.cpu", "limits.ephemeral-storage", "limits.memory", "memory",
	"persistentvolumeclaims", "pods", "replicationcontrollers", "requests.cpu", "requests.ephemeral-storage",
	"requests.memory", "requests.storage", "resourcequotas", "secrets", "services", "services.loadbalancers",
	"services.nodeports",
}

// quota checks the names and quantities of a ResourceQuota.
func (f *findings) quota(at string, list corev1.ResourceList) {
	for _, name := range sortedKeys(list) {
		at := keyed(at, name)
		q := list[corev1.ResourceName(name)]
		switch {
		case q.Sign() < 0:
			f.at(at, fmt.Sprintf("%s is below zero; write zero or more", q.String()))
		case len(validation.IsQualifiedName(name)) > 0:
			f.at(at, fmt.Sprintf("%q is no resource's name; write one such as requests.cpu or count/deployments.apps", shorten(name)))
		case !strings.Contains(name, "/") && !strings.Contains(name, "hugepages-") && !slices.Contains(quotaNames, name):
			meant := nearest(name, quotaNames)
			if meant == "" {
				meant = "one such as requests.cpu, requests.memory or pods"
			}
			f.at(at, fmt.Sprintf("%q is no resource that a quota knows; write %s", shorten(name), meant))
		case counts(name) && q.MilliValue()%1000 != 0:
			f.at(at, fmt.Sprintf("%s is not a whole number; write one such as 20", q.String()))
		}
	}
}

// counts says whether a resource is a number of objects.
func counts(name string) bool {
	return strings.HasPrefix(name, "count/") || !strings.ContainsAny(name, "/-") && !strings.Contains(name, "cpu") &&
		!strings.Contains(name, "memory") && !strings.Contains(name, "storage")
}

// limits checks the items of a LimitRange.
func (f *findings) limits(at string, items []corev1.LimitRangeItem) {
	types := []string{string(corev1.LimitTypeContainer), string(corev1.LimitTypePersistentVolumeClaim), string(corev1.LimitTypePod)}
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", at, i)
		if !slices.Contains(types, string(item.Type)) {
			f.at(at+".type", fmt.Sprintf("%q is not a type; use %s", shorten(string(item.Type)), prose.Either(types)))
		}
		if item.Type != corev1.LimitTypeContainer && (len(item.Default) > 0 || len(item.DefaultRequest) > 0) {
			f.at(at, "has defaults, which only type Container may have; remove default and defaultRequest")
		}
		// Each may be left out; those that are there must not fall.
		rising := []struct {
			name string
			list corev1.ResourceList
		}{{"min", item.Min}, {"defaultRequest", item.DefaultRequest}, {"default", item.Default}, {"max", item.Max}}
		for low := range rising {
			for high := low + 1; high < len(rising); high++ {
				for _, name := range sortedKeys(rising[low].list) {
					l, h := rising[low].list[corev1.ResourceName(name)], rising[high].list[corev1.ResourceName(name)]
					if _, ok := rising[high].list[corev1.ResourceName(name)]; ok && l.Cmp(h) > 0 {
						f.at(keyed(at+"."+rising[low].name, name), fmt.Sprintf("%s is above %s, %s; write at most that", l.String(), rising[high].name, h.String()))
					}
				}
			}
		}
	}
}

var registryHost = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?$`)
var registryPath = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)

// checkRegistry wants "<host>[:<port>]/<path>".
func checkRegistry(registry string) string {
	const example = "write it as <host>[:<port>]/<path>, such as registry.example.com/acme"
	host, rest, hasPath := strings.Cut(registry, "/")
	switch {
	case strings.Contains(registry, "://"):
		return fmt.Sprintf("%q has a scheme; %s", shorten(registry), example)
	case !registryHost.MatchString(host) || !strings.ContainsAny(host, ".:") && host != "localhost":
		return fmt.Sprintf("%q does not begin with a registry's host name; %s", shorten(registry), example)
	}
	if hasPath {
		for part := range strings.SplitSeq(rest, "/") {
			if !registryPath.MatchString(part) {
				return fmt.Sprintf("%q is not a repository's path, in lower case without tag or trailing '/'; %s", shorten(registry), example)
			}
		}
	}
	return checkLabelLengths(strings.Split(host, ":")[0])
}

// checkLabelLengths wants the labels of a host name to have at most 63 characters.
func checkLabelLengths(host string) string {
	for label := range strings.SplitSeq(host, ".") {
		if len(label) > validation.DNS1123LabelMaxLength {
			return fmt.Sprintf("%q has %d characters between dots; use at most %d", shorten(label), len(label), validation.DNS1123LabelMaxLength)
		}
	}
	return ""
}

// checkURL wants a repository that is not a cloud's metadata service.
func checkURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return fmt.Sprintf("%q is not a URL; write https://host/path or ssh://git@host/path", shorten(text))
	}
	if address, ok := address(u.Hostname()); ok && address.IsLinkLocalUnicast() {
		return fmt.Sprintf("%q is a link-local address, where clouds keep their metadata services; write your Git server's name", u.Hostname())
	}
	return ""
}

var branchName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./+@#=-]*$`)

// checkBranch wants what "git check-ref-format --branch" accepts.
func checkBranch(branch string) string {
	if !branchName.MatchString(branch) || strings.Contains(branch, "..") || strings.Contains(branch, "//") || strings.Contains(branch, "@{") ||
		strings.HasSuffix(branch, "/") || strings.HasSuffix(branch, ".") || strings.HasSuffix(branch, ".lock") || strings.Contains(branch, "/.") {
		return fmt.Sprintf("%q is no branch's name; write one such as main", shorten(branch))
	}
	return ""
}
