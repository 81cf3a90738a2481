package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
)

// A change of authorities goes through phases, each of which only lets be what all agree
// on already:
//
//	Trusting   the new authorities are issued, and everybody comes to trust them beside the old ones;
//	Reissuing  every certificate is issued anew by them, and programs start with it;
//	Proving    each API server answers who trusts only them, and no node needs the old ones;
//	Dropping   nobody trusts the old ones any more, and they are deleted.
//
// The stages of every reconcile make what a phase consists of; rotate, the last one,
// looks whether the next may begin, and begins it with a write that tells so by itself.
// Nothing else keeps the phase, so whoever comes after a kill goes on from there.

// locate finds out from the objects where the control plane is in a change of its
// authorities, and says so in the status.
func (r *Reconciler) locate(ctx context.Context, s *scope) error {
	var seen controlplane.Seen
	issuers, err := r.listOwn(ctx, s, certmanager.IssuerKind)
	if err != nil {
		return err
	}
	for _, o := range issuers {
		if g := s.plan.Generation(o.GetName()); g > 0 {
			seen.Kept = append(seen.Kept, g)
		}
	}
	certificates, err := r.listOwn(ctx, s, certmanager.CertificateKind)
	if err != nil {
		return err
	}
	for _, o := range certificates {
		issuer, _, _ := unstructured.NestedString(o.Object, "spec", "issuerRef", "name")
		if g := s.plan.Generation(issuer); g > 0 {
			seen.Issuing = append(seen.Issuing, g)
		}
	}
	trust := &corev1.ConfigMap{}
	switch err := r.read(ctx, client.ObjectKey{Namespace: s.cp.Namespace, Name: s.plan.Trust()}, trust); {
	case err == nil:
		seen.Trusted = controlplane.TrustedOf(trust.Annotations)
	case client.IgnoreNotFound(err) != nil:
		return fmt.Errorf("cannot read ConfigMap %s: %w", s.plan.Trust(), err)
	}
	place := controlplane.PlaceOf(s.cp.Spec.PKI.Generation, seen)
	s.plan = s.plan.At(place)
	r.enter(s.cp, place, place.Phase)
	return nil
}

// enter a phase, and say since when.
func (r *Reconciler) enter(cp *cpv1.AetherControlPlane, place controlplane.Place, phase cpv1.RotationPhase) {
	if phase == "" {
		cp.Status.Rotation = nil
		return
	}
	was := cp.Status.Rotation
	// Proving is the end of Reissuing: until an earlier stage waits, it stays.
	same := was != nil && was.Generation == place.To && (was.Phase == phase || was.Phase == cpv1.RotationProving && phase == cpv1.RotationReissuing)
	if !same {
		cp.Status.Rotation = &cpv1.Rotation{Phase: phase, Generation: place.To, Since: metav1.NewTime(r.now())}
		if was != nil && was.Generation == place.To {
			cp.Status.Rotation.Authority = was.Authority
		}
	}
	r.set(cp, cpv1.ConditionAuthoritiesCurrent, metav1.ConditionFalse, cpv1.ReasonRotating,
		fmt.Sprintf("The authorities change from generation %d to %d", place.From, place.To))
}

// listOwn are the objects of a kind of cert-manager that the control plane owns.
func (r *Reconciler) listOwn(ctx context.Context, s *scope, kind string) ([]unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(certmanager.SchemeGroupVersion.WithKind(kind))
	if err := r.List(ctx, list, client.InNamespace(s.cp.Namespace)); err != nil {
		return nil, fmt.Errorf("cannot list objects of kind %s: %w", kind, err)
	}
	return slices.DeleteFunc(list.Items, func(o unstructured.Unstructured) bool { return !metav1.IsControlledBy(&o, s.cp) }), nil
}

// rotate begins the next phase of a change of authorities once it cuts nobody off.
func (r *Reconciler) rotate(ctx context.Context, s *scope) error {
	place := s.plan.Place()
	switch place.Phase {
	case cpv1.RotationTrusting:
		if err := r.allTrust(ctx, s); err != nil {
			return err
		}
		place.Phase = cpv1.RotationReissuing
		var leaves []client.Object
		next := s.plan.At(place)
		for _, c := range next.Certificates() {
			if !c.Spec.IsCA {
				leaves = append(leaves, c)
			}
		}
		if err := r.put(ctx, leaves...); err != nil {
			return err
		}
		r.enter(s.cp, place, place.Phase)
		return rotating("All certificates are issued anew by the authorities of generation %d", place.To)
	case cpv1.RotationReissuing:
		r.enter(s.cp, place, cpv1.RotationProving)
		if err := r.proven(ctx, s); err != nil {
			return err
		}
		place.Phase = cpv1.RotationDropping
		next := s.plan.At(place)
		bundles, err := r.bundles(ctx, s, next)
		if err != nil {
			return err
		}
		if err := r.put(ctx, next.TrustMap(bundles)); err != nil {
			return err
		}
		r.enter(s.cp, place, place.Phase)
		return rotating("The authorities of generation %d are not trusted any more", place.From)
	case cpv1.RotationDropping:
		if err := r.drop(ctx, s); err != nil {
			return err
		}
		return rotating("The authorities of generation %d are being deleted", place.From)
	}
	return nil
}

// rotating is a waiting within a change of authorities. What happens in a hosted cluster
// wakes nobody here, so it is looked at again.
func rotating(format string, args ...any) *waiting {
	return &waiting{reason: cpv1.ReasonRotating, message: fmt.Sprintf(format, args...), after: soon}
}

// settled waits until what the stages before have applied is what they have looked at,
// and runs: an object that was just written may still be seen as it was, and a Pod that
// stops may still be at work with what it started with. It returns the Pods of the API
// servers.
func (r *Reconciler) settled(ctx context.Context, s *scope) ([]corev1.Pod, error) {
	for _, o := range []client.Object{
		s.plan.EtcdStatefulSet(), s.plan.APIServerDeployment(), s.plan.ControllerManagerDeployment(), s.plan.SchedulerDeployment(),
	} {
		if err := r.applied(ctx, o, o.GetName()); err != nil {
			return nil, err
		}
	}
	var pods corev1.PodList
	if err := r.reader.List(ctx, &pods, client.InNamespace(s.cp.Namespace), client.MatchingLabels{controlplane.LabelCluster: controlplane.ClusterName(s.cp)}); err != nil {
		return nil, fmt.Errorf("cannot list the Pods of the control plane: %w", err)
	}
	var servers []corev1.Pod
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp != nil {
			return nil, rotating("Waiting for Pod %s, which is stopping", pod.Name)
		}
		if pod.Labels[controlplane.LabelComponent] == controlplane.APIServer {
			servers = append(servers, pod)
		}
	}
	return servers, nil
}

// allTrust waits until every node that is ready trusts the new authority as well. The
// programs of the control plane do: the stages before have seen to that.
func (r *Reconciler) allTrust(ctx context.Context, s *scope) error {
	if _, err := r.settled(ctx, s); err != nil {
		return err
	}
	nodes, hash, err := r.nodes(ctx, s)
	if err != nil {
		return err
	}
	return waitFor(nodes, func(n node) bool { return slices.Contains(n.trusts, hash) },
		"to trust authority "+s.plan.NewAuthority(controlplane.CA),
		fmt.Sprintf("give each the certificates in ConfigMap %s, then annotate it with %s=%s", s.plan.Trust(), cpv1.AnnotationTrusts, hash))
}

// proven waits until each API server serves who trusts the new authority alone, and takes
// it by a certificate of that one, and until no node that is ready needs the old one. An
// API server that answers has its etcd, whose members have found each other anew.
func (r *Reconciler) proven(ctx context.Context, s *scope) error {
	servers, err := r.settled(ctx, s)
	if err != nil {
		return err
	}
	if len(servers) == 0 {
		return rotating("Waiting to see the Pods of the API servers")
	}
	c, err := r.credential(ctx, s, controlplane.Controller)
	if err != nil {
		return err
	}
	authority, err := r.secret(ctx, s, s.plan.NewAuthority(controlplane.CA))
	if err != nil {
		return err
	}
	c.ca = authority.Data[corev1.TLSCertKey]
	for _, pod := range servers {
		if pod.Status.PodIP == "" {
			return rotating("Waiting for Pod %s, which is starting", pod.Name)
		}
		c.address = pod.Status.PodIP
		m, err := r.reach(c)
		if err == nil {
			err = m.serves(ctx)
		}
		if err != nil {
			return rotating("API server %s does not serve who trusts authority %s alone: %v", pod.Name, s.plan.NewAuthority(controlplane.CA), err)
		}
	}
	nodes, hash, err := r.nodes(ctx, s)
	if err != nil {
		return err
	}
	return waitFor(nodes, func(n node) bool { return n.from == hash },
		"to hold a certificate of authority "+s.plan.NewAuthority(controlplane.CA),
		fmt.Sprintf("renew the kubelet's certificate on each, then annotate it with %s=%s", cpv1.AnnotationCredentialFrom, hash))
}

// nodes of the hosted cluster, and the hash by which they name its new authority.
func (r *Reconciler) nodes(ctx context.Context, s *scope) ([]node, string, error) {
	authority, err := r.secret(ctx, s, s.plan.NewAuthority(controlplane.CA))
	if err != nil {
		return nil, "", err
	}
	hash, err := controlplane.Fingerprint(authority.Data[corev1.TLSCertKey])
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the certificate of authority %s: %w", s.plan.NewAuthority(controlplane.CA), err)
	}
	s.cp.Status.Rotation.Authority = hash
	c, err := r.credential(ctx, s, controlplane.Controller)
	if err != nil {
		return nil, "", err
	}
	m, err := r.reach(c)
	if err != nil {
		return nil, "", err
	}
	nodes, err := m.nodes(ctx)
	if err != nil {
		return nil, "", &waiting{reason: cpv1.ReasonUnreachable, after: soon, message: fmt.Sprintf("The nodes cannot be asked at %s: %v", c.url(), err)}
	}
	return nodes, hash, nil
}

// waitFor is a waiting while a node that is ready is not so far. One that is not ready
// holds up nothing: it may never come back.
func waitFor(nodes []node, is func(node) bool, goal, how string) error {
	var late []string
	for _, n := range nodes {
		if n.ready && !is(n) {
			late = append(late, n.name)
		}
	}
	if len(late) == 0 {
		return nil
	}
	slices.Sort(late)
	const named = 3
	text := strings.Join(late[:min(named, len(late))], ", ")
	if more := len(late) - named; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	what := "nodes"
	if len(late) == 1 {
		what = "node"
	}
	return rotating("Waiting for %d %s %s: %s; %s", len(late), what, goal, text, how)
}

// drop deletes what there is of the authorities that nobody trusts any more. The Issuer
// goes last: it is what tells that there is something left.
func (r *Reconciler) drop(ctx context.Context, s *scope) error {
	from := s.plan.Place().From
	kind := certmanager.SchemeGroupVersion.WithKind
	for _, authority := range controlplane.Authorities {
		name := s.plan.PKI(controlplane.PartOf(authority, from))
		for _, gvk := range []schema.GroupVersionKind{
			kind(certmanager.CertificateKind), corev1.SchemeGroupVersion.WithKind("Secret"), kind(certmanager.IssuerKind),
		} {
			o := &metav1.PartialObjectMetadata{}
			o.SetGroupVersionKind(gvk)
			if err := r.reader.Get(ctx, client.ObjectKey{Namespace: s.cp.Namespace, Name: name}, o); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("cannot get %s %s: %w", gvk.Kind, name, err)
			} else if err != nil {
				continue
			}
			// cert-manager owns no Secret, but says whose it is.
			ours := metav1.IsControlledBy(o, s.cp) || gvk.Kind == "Secret" && o.Annotations[certmanager.CertificateNameKey] == name
			if !ours {
				continue
			}
			if err := r.applier.Delete(ctx, gvk, s.cp.Namespace, name, o.UID); err != nil {
				return err
			}
		}
	}
	return nil
}

// bundles are the certificates that a plan trusts, by authority. It waits for all of
// them: a program that trusts nobody fails to start.
func (r *Reconciler) bundles(ctx context.Context, s *scope, plan *controlplane.Plan) (map[string][]byte, error) {
	bundles := map[string][]byte{}
	for _, authority := range controlplane.Authorities {
		var certificates [][]byte
		for _, part := range plan.Trusted(authority) {
			secret, err := r.secret(ctx, s, part)
			if err != nil {
				return nil, err
			}
			certificates = append(certificates, secret.Data[corev1.TLSCertKey])
		}
		bundles[authority] = controlplane.Bundle(certificates...)
	}
	return bundles, nil
}

// tellRotation says in the status what a change of authorities waits for.
func tellRotation(cp *cpv1.AetherControlPlane, w *waiting) {
	if cp.Status.Rotation == nil {
		return
	}
	cp.Status.Rotation.Message = ""
	if w != nil {
		cp.Status.Rotation.Message = w.message
		if c := meta.FindStatusCondition(cp.Status.Conditions, cpv1.ConditionAuthoritiesCurrent); c != nil && c.Status == metav1.ConditionFalse {
			c.Message = w.message
		}
	}
}
