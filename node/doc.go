// Package node is an installed machine at work.
//
// A server is two processes and containerd:
//
//	airgap server      datastore, API server, scheduler, controllers, add-ons   (this package's Server)
//	└─ airgap agent    kubelet, kube-proxy, pod network                          (Agent)
//	   └─ containerd   and under it, but outliving all three, the pods' shims
//
// Each parent starts a child that ends again, and each child ends when its parent
// does, however that ends. An agent machine runs the second half alone.
package node
