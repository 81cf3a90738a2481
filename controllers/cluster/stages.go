package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cpv1 "github.com/aetherplatform/aether/api/controlplane/v1alpha1"
	"github.com/aetherplatform/aether/internal/controlplane"
)

// soon is when what no watch tells of is looked at again.
const soon = 5 * time.Second

// certificates closes the control plane off, before there is anything in it, and has its
// certificates issued.
func (r *Reconciler) certificates(ctx context.Context, s *scope) error {
	if err := r.fixEndpoint(ctx, s); err != nil {
		return err
	}
	objects := []client.Object{controlplane.SecretsAccess(s.cp)}
	for _, o := range s.plan.NetworkPolicies() {
		objects = append(objects, o)
	}
	for _, o := range s.plan.PodDisruptionBudgets() {
		objects = append(objects, o)
	}
	if err := r.put(ctx, objects...); err != nil {
		return err
	}
	if !r.watch() {
		return &waiting{
			reason: cpv1.ReasonCertManagerMissing, stuck: true, after: soon,
			message: "The cluster does not serve Certificate of cert-manager.io/v1; install cert-manager 1.18 or later: https://cert-manager.io/docs/installation",
		}
	}
	if err := r.locate(ctx, s); err != nil {
		return err
	}
	objects = nil
	for _, o := range s.plan.Issuers() {
		objects = append(objects, o)
	}
	certificates := s.plan.Certificates()
	for _, o := range certificates {
		objects = append(objects, o)
	}
	if err := r.put(ctx, objects...); err != nil {
		return err
	}
	late, err := r.issued(ctx, s, certificates)
	if err != nil {
		return err
	}
	if err := r.spreadTrust(ctx, s); err != nil {
		return err
	}
	if len(late) > 0 {
		return &waiting{reason: cpv1.ReasonWaiting, message: "Waiting for certificates: " + strings.Join(late, ", ")}
	}
	return nil
}

// fixEndpoint writes the endpoint into the spec, where Cluster API looks for it, and
// where it then stays.
func (r *Reconciler) fixEndpoint(ctx context.Context, s *scope) error {
	if s.cp.Spec.ControlPlaneEndpoint != nil {
		return nil
	}
	changed := s.cp.DeepCopy()
	changed.Spec.ControlPlaneEndpoint = ptr.To(s.plan.Endpoint())
	if err := r.Patch(ctx, changed, client.MergeFromWithOptions(s.cp, client.MergeFromWithOptimisticLock{}), client.FieldOwner(fieldOwner)); err != nil {
		return fmt.Errorf("cannot write spec.controlPlaneEndpoint: %w", err)
	}
	s.cp.ResourceVersion, s.cp.Generation, s.cp.Spec = changed.ResourceVersion, changed.Generation, changed.Spec
	return nil
}

// issued reports the certificates in the status, and says which are not there yet and why.
func (r *Reconciler) issued(ctx context.Context, s *scope, certificates []*certmanager.Certificate) (late []string, err error) {
	s.cp.Status.Certificates = nil
	for _, want := range certificates {
		c := &certmanager.Certificate{}
		if err := r.read(ctx, client.ObjectKeyFromObject(want), c); client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		is, why := false, "not seen yet"
		for _, condition := range c.Status.Conditions {
			if condition.Type == certmanager.CertificateConditionReady {
				is = condition.Status == cmmeta.ConditionTrue && condition.ObservedGeneration == c.Generation
				why = condition.Message
			}
		}
		if c.Spec.IssuerRef.Name != want.Spec.IssuerRef.Name {
			is, why = false, "not asked of the new authority yet"
		}
		part := strings.TrimPrefix(want.Name, s.cp.Name+"-pki-")
		if !is {
			late = append(late, fmt.Sprintf("%s (%s)", part, strings.TrimSuffix(why, ".")))
		}
		s.cp.Status.Certificates = append(s.cp.Status.Certificates, cpv1.CertificateStatus{
			Name: part, Ready: is, NotAfter: c.Status.NotAfter, RenewalTime: c.Status.RenewalTime,
		})
	}
	slices.Sort(late)
	return late, nil
}

// spreadTrust puts the certificates of the authorities where programs read whom to
// trust, and marks what they read only when they start.
func (r *Reconciler) spreadTrust(ctx context.Context, s *scope) error {
	bundles, err := r.bundles(ctx, s, s.plan)
	if err != nil {
		return err
	}
	accounts, err := r.secret(ctx, s, controlplane.ServiceAccounts)
	if err != nil {
		return err
	}
	if err := s.plan.Mark(bundles, accounts.Data[corev1.TLSCertKey]); err != nil {
		return err
	}
	return r.put(ctx, s.plan.TrustMap(bundles))
}

// secret reads the one of a certificate.
func (r *Reconciler) secret(ctx context.Context, s *scope, certificate string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	name := s.plan.PKI(certificate)
	err := r.reader.Get(ctx, client.ObjectKey{Namespace: s.cp.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) || err == nil && len(secret.Data[corev1.TLSCertKey]) == 0 {
		return nil, &waiting{reason: cpv1.ReasonWaiting, message: fmt.Sprintf("Waiting for cert-manager to issue %s", certificate)}
	}
	if err != nil {
		return nil, unreadable(err, name)
	}
	return secret, nil
}

// unreadable is a waiting while the API server has not heard yet of the RoleBinding that
// lets Secrets be read, which takes it a moment.
func unreadable(err error, name string) error {
	if apierrors.IsForbidden(err) {
		return &waiting{reason: cpv1.ReasonWaiting, after: time.Second, message: fmt.Sprintf("Waiting for the right to read Secret %s: %v", name, err)}
	}
	return fmt.Errorf("cannot read Secret %s: %w", name, err)
}

// etcd starts the members, and waits for all of them.
func (r *Reconciler) etcd(ctx context.Context, s *scope) error {
	var objects []client.Object
	for _, o := range s.plan.EtcdServices() {
		objects = append(objects, o)
	}
	if err := r.restore(ctx, s, false); err != nil {
		return err
	}
	set := s.plan.EtcdStatefulSet()
	if err := r.put(ctx, append(objects, set)...); err != nil {
		return err
	}
	if err := r.applied(ctx, set, "etcd"); err != nil {
		return err
	}
	want := ptr.Deref(set.Spec.Replicas, 1)
	if st := set.Status; st.ObservedGeneration < set.Generation || st.ReadyReplicas < want || st.UpdatedReplicas < want {
		message := fmt.Sprintf("Waiting for etcd: %d of %d members are ready, %d up to date", st.ReadyReplicas, want, st.UpdatedReplicas)
		if s.cp.Spec.Etcd.RestoreFrom != nil && s.cp.Status.RestoredFrom == "" {
			message += fmt.Sprintf("; they begin with snapshot %s", s.cp.Spec.Etcd.RestoreFrom.Snapshot)
			if why := r.troubles(ctx, s, controlplane.Etcd); why != "" {
				message += ": " + why
			}
		}
		return &waiting{reason: cpv1.ReasonWaiting, message: message}
	}
	if s.cp.Status.RestoredFrom == "" {
		if err := r.restore(ctx, s, true); err != nil {
			return err
		}
	}
	return r.snapshots(ctx, s)
}

// apiServers starts the API servers, waits until one answers, and gives the cluster what
// every cluster has.
func (r *Reconciler) apiServers(ctx context.Context, s *scope) error {
	if err := r.steer(ctx, s); err != nil {
		return err
	}
	return r.judge(ctx, s, r.serveAPI(ctx, s))
}

func (r *Reconciler) serveAPI(ctx context.Context, s *scope) error {
	deployment := s.plan.APIServerDeployment()
	if err := r.put(ctx, s.plan.APIServerService(), deployment); err != nil {
		return err
	}
	if err := r.kubeconfig(ctx, s); err != nil {
		return err
	}
	if err := r.rolledOut(ctx, deployment, "the API servers"); err != nil {
		return err
	}
	return r.greet(ctx, s)
}

// managers starts what works through the API servers.
func (r *Reconciler) managers(ctx context.Context, s *scope) error {
	return r.finish(s, r.manage(ctx, s))
}

func (r *Reconciler) manage(ctx context.Context, s *scope) error {
	deployments := []*appsv1.Deployment{s.plan.ControllerManagerDeployment(), s.plan.SchedulerDeployment()}
	if err := r.put(ctx, s.plan.Kubeconfigs(), deployments[0], deployments[1]); err != nil {
		return err
	}
	for i, what := range []string{"the controller manager", "the scheduler"} {
		if err := r.rolledOut(ctx, deployments[i], what); err != nil {
			return err
		}
	}
	return nil
}

// rolledOut waits until all Pods of a Deployment are of its newest kind, and available.
func (r *Reconciler) rolledOut(ctx context.Context, d *appsv1.Deployment, what string) error {
	if err := r.applied(ctx, d, what); err != nil {
		return err
	}
	want := ptr.Deref(d.Spec.Replicas, 1)
	if st := d.Status; st.ObservedGeneration < d.Generation || st.AvailableReplicas < want || st.UpdatedReplicas < want || st.Replicas > want {
		return &waiting{reason: cpv1.ReasonWaiting, message: fmt.Sprintf("Waiting for %s: %d of %d are available, %d up to date", what, st.AvailableReplicas, want, st.UpdatedReplicas)}
	}
	return nil
}

// unseen is a waiting when an object that was just made is not in the cache yet.
func unseen(err error, what string) error {
	if apierrors.IsNotFound(err) {
		return &waiting{reason: cpv1.ReasonWaiting, message: "Waiting for " + what}
	}
	return err
}
