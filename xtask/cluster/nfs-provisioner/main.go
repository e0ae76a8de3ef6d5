// nfs-provisioner makes the embedded cluster's volumes: a folder of an NFS export for each claim.
//
// It runs on the machine that serves the export, as root: clients cannot make folders at the top of an export that
// squashes root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func main() {
	var p provisioner
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	name := flag.String("name", "", "the provisioner that storage classes name")
	flag.StringVar(&p.server, "server", "", "the NFS server's address, for nodes")
	flag.StringVar(&p.export, "export", "", "the exported folder, here and for nodes")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := p.run(ctx, *kubeconfig, *name); err != nil {
		klog.ErrorS(err, "nfs-provisioner")
		os.Exit(1)
	}
}

func (p *provisioner) run(ctx context.Context, kubeconfig, name string) error {
	if name == "" || p.server == "" {
		return errors.New("--name and --server are required")
	}
	root, err := os.OpenRoot(p.export)
	if err != nil {
		return fmt.Errorf("--export: %w", err)
	}
	defer root.Close()
	p.root = root
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	// No election: there is one, beside its export.
	controller.NewProvisionController(ctx, client, name, p, controller.LeaderElection(false)).Run(ctx)
	return nil
}

// provisioner answers claims. What it makes and removes is directly in the export, whatever a volume names.
type provisioner struct {
	server, export string
	root           *os.Root
}

// Provision may be asked again for a claim whose volume could not be stored: the folder is then there.
func (p *provisioner) Provision(_ context.Context, options controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	claim := options.PVC
	if claim.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, errors.New("a claim with a selector cannot be provisioned for")
	}
	folder := folderOf(claim, options.PVName)
	if err := p.root.Mkdir(folder, 0o777); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, controller.ProvisioningFinished, err
	}
	// Anybody may write, as NFS knows no fsGroup and who will run in the pod is not known here; who may mount it is
	// the claim's affair.
	if err := p.root.Chmod(folder, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	reclaim := v1.PersistentVolumeReclaimDelete
	if policy := options.StorageClass.ReclaimPolicy; policy != nil {
		reclaim = *policy
	}
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: reclaim,
			AccessModes:                   claim.Spec.AccessModes,
			MountOptions:                  options.StorageClass.MountOptions,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage]},
			PersistentVolumeSource: v1.PersistentVolumeSource{
				NFS: &v1.NFSVolumeSource{Server: p.server, Path: filepath.Join(p.export, folder)},
			},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete is asked only for volumes with the policy Delete.
func (p *provisioner) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	nfs := volume.Spec.NFS
	if nfs == nil || nfs.Server != p.server {
		return &controller.IgnoredError{Reason: "not a volume of this export"}
	}
	folder, found := strings.CutPrefix(nfs.Path, p.export+"/")
	if !found || filepath.Base(folder) != folder || !strings.HasSuffix(folder, "-"+volume.Name) {
		return fmt.Errorf("%q is not a folder that was made for %s", nfs.Path, volume.Name)
	}
	return p.root.RemoveAll(folder)
}

// folderOf is <namespace>-<claim>-<volume>, which the volume's name alone makes unique, cut where it is too long for a
// file name.
func folderOf(claim *v1.PersistentVolumeClaim, volume string) string {
	const longest = 255
	name := claim.Namespace + "-" + claim.Name
	return name[:min(len(name), longest-1-len(volume))] + "-" + volume
}
