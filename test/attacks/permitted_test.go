package attacks

import (
	"context"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/testenv"
)

// What a tenant may use is in annotations of its Namespace. The cases that need one
// request are beside the policies, in policies/kyverno, and tried by test/kyverno;
// here is what takes several, another's rights or a side door.

// permit writes what Git permits into a Namespace, as the operator does, and returns
// once admission knows: a Pod of the image "canary.invalid/x" is refused from then on.
func (w *world) permit(t *testing.T, ns *corev1.Namespace, permits map[string]any) {
	t.Helper()
	annotations := map[string]any{v1alpha1.LabelPrefix + "registries": "registry.example.com/acme"}
	for suffix, value := range permits {
		annotations[v1alpha1.LabelPrefix+suffix] = value
	}
	w.must(t, w.operator(t).Patch(t.Context(), ns.DeepCopy(), client.RawPatch(types.MergePatchType,
		encode(map[string]any{"metadata": map[string]any{"annotations": annotations}}))))
	registries, _ := annotations[v1alpha1.LabelPrefix+"registries"].(string)
	testenv.Eventually(t, func(ctx context.Context) error {
		canary := pod(ns.Name, "canary")
		canary.Spec.Containers[0].Image = "canary.invalid/x"
		err := w.Client.Create(ctx, canary, client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(registries, " ", ", ")) {
			return errNotYet
		}
		return nil
	})
}

func image(p *corev1.Pod, ref string) *corev1.Pod {
	p.Spec.Containers[0].Image = ref
	return p
}

func TestTenantPermitsItselfARegistry(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	for _, suffix := range []string{"registries", "hostnames", "exposure", "exceptions", "node-selector", "Registries"} {
		patch := client.RawPatch(types.MergePatchType, encode(map[string]any{"metadata": map[string]any{
			"annotations": map[string]any{v1alpha1.LabelPrefix + suffix: "x"}}}))
		for who, c := range map[string]client.Client{"a cluster admin": w.as(t, clusterAdmin), "the deploy account": w.as(t, ns.Name+":deploy")} {
			t.Run(suffix+" by "+who, func(t *testing.T) {
				w.refuses(t, ns, "aether-namespace-metadata|cannot patch resource", func(ctx context.Context) error { return c.Patch(ctx, ns.DeepCopy(), patch) })
			})
		}
	}
}

func TestTenantRunsAForeignImageThroughASideDoor(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	w.createPod(t, mallory, pod(ns.Name, "app"))
	w.permit(t, ns, nil)
	app := &corev1.Pod{}
	w.must(t, w.Client.Get(t.Context(), client.ObjectKey{Namespace: ns.Name, Name: "app"}, app))

	debug := func(ref string) func(context.Context) error {
		return func(ctx context.Context) error {
			p := app.DeepCopy()
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "debug", Image: ref, SecurityContext: p.Spec.Containers[0].SecurityContext,
			}}}
			return mallory.SubResource("ephemeralcontainers").Update(ctx, p)
		}
	}
	w.refuses(t, app, "takes no image", debug("quay.io/evil/shell:1"))
	w.refuses(t, app, "takes no image", func(ctx context.Context) error {
		return mallory.Update(ctx, image(app.DeepCopy(), "quay.io/evil/app:1"))
	})
	w.allows(t, debug("registry.example.com/acme/shell:1")(t.Context()))
}

// A rule that became stricter must not hold what is there already.
func TestWhatWasAdmittedStaysManageableWhenItsPermitIsWithdrawn(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	w.permit(t, ns, map[string]any{
		"registries": "registry.example.com/acme quay.io/old", "hostnames": "shop.example.com", "exposure": "LoadBalancer",
	})
	old := image(pod(ns.Name, "old"), "quay.io/old/app:1")
	old.Finalizers = []string{"example.com/hold"}
	w.createPod(t, mallory, old)
	ingress := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "old", Namespace: ns.Name},
		Spec:       networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: "shop.example.com"}}},
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "old", Namespace: ns.Name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	for _, o := range []client.Object{ingress, service} {
		w.must(t, mallory.Create(t.Context(), o))
	}
	w.permit(t, ns, map[string]any{"hostnames": nil, "exposure": nil})

	t.Run("its metadata", func(t *testing.T) {
		for _, o := range []client.Object{old, ingress, service} {
			w.allows(t, mallory.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))))
		}
	})
	t.Run("what else it says", func(t *testing.T) {
		w.allows(t, mallory.Patch(t.Context(), service, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"ports":[{"port":81}]}}`))))
		w.allows(t, mallory.Patch(t.Context(), ingress, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"ingressClassName":"cilium"}}`))))
	})
	t.Run("its finalizers", func(t *testing.T) {
		w.must(t, mallory.Delete(t.Context(), old, client.GracePeriodSeconds(0)))
		w.allows(t, mallory.Patch(t.Context(), old, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	})
	t.Run("but takes no more of it", func(t *testing.T) {
		again := image(pod(ns.Name, "again"), "quay.io/old/app:1")
		w.refuses(t, again, "takes no image", func(ctx context.Context) error { return mallory.Create(ctx, again.DeepCopy()) })
		w.refuses(t, ingress, `cannot use the hostname "other.example.com"`, func(ctx context.Context) error {
			return mallory.Patch(ctx, ingress.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"rules":[{"host":"shop.example.com"},{"host":"other.example.com"}]}}`)))
		})
		w.refuses(t, service, "NodePort is not open", func(ctx context.Context) error {
			return mallory.Patch(ctx, service.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"type":"NodePort"}}`)))
		})
	})
}

func TestTenantOpensAServiceAfterwards(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: ns.Name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	w.allows(t, mallory.Create(t.Context(), service))
	for what, patch := range map[string]string{
		"LoadBalancer is not open":              `{"spec":{"type":"LoadBalancer"}}`,
		"NodePort is not open":                  `{"spec":{"type":"NodePort"}}`,
		"ExternalIPs 203.0.113.7 is not open":   `{"spec":{"externalIPs":["203.0.113.7"]}}`,
		"ExternalName db.globex.svc is not":     `{"spec":{"type":"ExternalName","externalName":"db.globex.svc","clusterIP":null,"clusterIPs":null}}`,
		`cannot use the hostname "x.globex.io"`: `{"metadata":{"annotations":{"external-dns.alpha.kubernetes.io/hostname":"x.globex.io"}}}`,
	} {
		t.Run(what, func(t *testing.T) {
			w.refuses(t, service, what, func(ctx context.Context) error {
				return mallory.Patch(ctx, service.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch)))
			})
		})
	}
	t.Run("by its status, as CVE-2020-8554 did", func(t *testing.T) {
		err := mallory.Status().Patch(t.Context(), service.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.7"}]}}}`)))
		if err == nil || !strings.Contains(err.Error(), "LoadBalancer 203.0.113.7 is not open") && !strings.Contains(err.Error(), "may only be used when") {
			t.Errorf("was not refused: %v", err)
		}
	})
}

// The API server's clock decides about what is created: it is in creationTimestamp,
// which no client sets.
func TestTenantOutlivesAnException(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	w.permit(t, ns, map[string]any{"exceptions": "registries:quay.io/stands@2999-01-01T00:00:00Z registries:quay.io/ended@2020-01-01T00:00:00Z registries:quay.io/odd@tomorrow"})

	named := func(ref string) *corev1.Pod { return image(pod(ns.Name, "named"), ref) }
	generated := func(ref string) *corev1.Pod {
		p := image(pod(ns.Name, ""), ref)
		p.GenerateName = "generated-"
		return p
	}
	backdated := func(p *corev1.Pod) *corev1.Pod {
		p.CreationTimestamp = metav1.Date(2019, 1, 1, 0, 0, 0, 0, metav1.Now().Location())
		return p
	}
	ways := map[string]func(ctx context.Context, ref string) error{
		"create":                           func(ctx context.Context, ref string) error { return mallory.Create(ctx, named(ref)) },
		"create with a generated name":     func(ctx context.Context, ref string) error { return mallory.Create(ctx, generated(ref)) },
		"server-side apply":                func(ctx context.Context, ref string) error { return apply(ctx, mallory, named(ref)) },
		"create of what is said to be old": func(ctx context.Context, ref string) error { return mallory.Create(ctx, backdated(named(ref))) },
		"generated, and said to be old":    func(ctx context.Context, ref string) error { return mallory.Create(ctx, backdated(generated(ref))) },
		"applied, and said to be old": func(ctx context.Context, ref string) error {
			u, err := applied(mallory, named(ref))
			if err != nil {
				return err
			}
			set("2019-01-01T00:00:00Z", "metadata", "creationTimestamp")(u)
			return mallory.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("mallory"), client.ForceOwnership)
		},
	}
	for how, create := range ways {
		t.Run(how, func(t *testing.T) {
			for _, ref := range []string{"quay.io/ended/app:1", "quay.io/odd/app:1"} {
				w.refuses(t, named(ref), "takes no image", func(ctx context.Context) error { return create(ctx, ref) })
			}
			w.allows(t, create(t.Context(), "quay.io/stands/app:1"))
			_ = mallory.Delete(t.Context(), named(""), client.GracePeriodSeconds(0))
		})
	}
}

func TestTenantTakesTheTokenOfTheDeployAccount(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	own := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "own", Namespace: ns.Name}}
	w.must(t, mallory.Create(t.Context(), own))
	deploy := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deploy", Namespace: ns.Name}}
	ask := func(c client.Client, of *corev1.ServiceAccount) error {
		return c.SubResource("token").Create(t.Context(), of.DeepCopy(), &authenticationv1.TokenRequest{})
	}
	w.refuses(t, deploy, "make an account of your own", func(context.Context) error { return ask(mallory, deploy) })
	w.allows(t, ask(mallory, own))
	w.allows(t, ask(w.as(t, clusterAdmin), deploy))

	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "token", Namespace: ns.Name, Annotations: map[string]string{corev1.ServiceAccountNameKey: "own"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}
	w.allows(t, mallory.Create(t.Context(), secret))
	w.refuses(t, secret, "make an account of your own", func(ctx context.Context) error {
		return mallory.Patch(ctx, secret.DeepCopy(), client.RawPatch(types.MergePatchType,
			[]byte(`{"metadata":{"annotations":{"kubernetes.io/service-account.name":"deploy","kubernetes.io/service-account.uid":null}}}`)))
	})
	w.createPod(t, mallory, pod(ns.Name, "control"))
	thief := pod(ns.Name, "thief")
	thief.Spec.ServiceAccountName = "deploy"
	w.refuses(t, thief, "is Aether's", func(ctx context.Context) error { return mallory.Create(ctx, thief.DeepCopy()) })
	// Flux acts as the account by impersonation, which takes no token.
	w.allows(t, w.as(t, ns.Name+":deploy").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "applied", Namespace: ns.Name}}))
}

func TestTenantReachesNodesThatAreNotItsOwn(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	control := []corev1.Toleration{{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists}}

	w.createPod(t, mallory, pod(ns.Name, "app"))
	app := &corev1.Pod{}
	w.must(t, w.Client.Get(t.Context(), client.ObjectKey{Namespace: ns.Name, Name: "app"}, app))
	t.Run("by a toleration that is added later", func(t *testing.T) {
		w.refuses(t, app, "reaches nodes that are not the tenant's", func(ctx context.Context) error {
			p := app.DeepCopy()
			p.Spec.Tolerations = append(p.Spec.Tolerations, control...)
			return mallory.Update(ctx, p)
		})
	})
	t.Run("by a runtime class, whose tolerations become the Pod's", func(t *testing.T) {
		w.must(t, w.Client.Create(t.Context(), &nodev1.RuntimeClass{
			ObjectMeta: metav1.ObjectMeta{Name: "privileged-nodes"}, Handler: "runc", Scheduling: &nodev1.Scheduling{Tolerations: control},
		}))
		class := "privileged-nodes"
		p := pod(ns.Name, "classy")
		p.Spec.RuntimeClassName = &class
		var err error
		testenv.Eventually(t, func(ctx context.Context) error { // until admission knows the class
			if err = mallory.Create(ctx, p.DeepCopy()); err != nil && strings.Contains(err.Error(), "RuntimeClass") {
				return err
			}
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "reaches nodes that are not the tenant's") {
			t.Errorf("was not refused: %v", err)
		}
	})
	t.Run("while the controller of DaemonSets adds what it must", func(t *testing.T) {
		p := pod(ns.Name, "daemon")
		p.Spec.Tolerations = []corev1.Toleration{{Key: "node.kubernetes.io/unschedulable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
		w.refuses(t, p, "reaches nodes that are not the tenant's", func(ctx context.Context) error { return mallory.Create(ctx, p.DeepCopy()) })
		w.allows(t, w.as(t, "kube-system:daemon-set-controller").Create(t.Context(), p.DeepCopy()))
	})
}

func TestTenantGetsADefaultStorageClassThatIsNotOpenToIt(t *testing.T) {
	w := newWorld(t)
	ns := w.namespace(t, "acme")
	mallory := w.intrude(t, ns.Name)
	w.permit(t, ns, map[string]any{"storage-classes": "standard"})
	premium := &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "premium", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: "example.com/premium",
	}
	w.must(t, w.Client.Create(t.Context(), premium))
	t.Cleanup(func() { _ = w.Client.Delete(context.Background(), premium) })
	claim := func(class *string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "data-", Namespace: ns.Name},
			Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}
	}
	testenv.Eventually(t, func(ctx context.Context) error { // until the default is known
		err := mallory.Create(ctx, claim(nil), client.DryRunAll)
		if err == nil {
			return errNotYet
		}
		if !strings.Contains(err.Error(), `storage class "premium" is not open`) {
			t.Fatal(err)
		}
		return nil
	})
	standard := "standard"
	w.allows(t, mallory.Create(t.Context(), claim(&standard)))
}
