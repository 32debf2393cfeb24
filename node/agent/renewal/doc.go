// Package renewal keeps the credentials of a machine that has joined a cluster good: it asks a server for new certificates
// when old ones near their end, when the node's addresses have changed, and when the cluster's authorities have.
//
// The kubelet renews its own client certificate, by Kubernetes' API; here it is renewed only together with the authorities. Keys
// stay what they are, so that a certificate can be replaced in one step; a key is made anew where there is none for its certificate,
// and then written first: a certificate without its key would be believed to be whole.
//
// The same request tells whether the cluster still knows the node. One that was deleted is refused ([ErrDeleted]), and must
// not register itself again: deleting it was somebody's deliberate act.
package renewal
