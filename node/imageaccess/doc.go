// Package imageaccess decides, by the cluster's own tokens and RBAC, who may pull from a node's registry and push to it.
//
// Who it is says a client's certificate of the cluster, or a token that the API server knows: as a Bearer token, or as
// the password beside any user name, which is what `docker login` sends. What they may do is RBAC on a resource that
// exists for nothing else:
//
//	apiGroups: [airgap.internal]
//	resources: [images]
//	verbs: [get, create, delete, list]     # pull; push, and so replace tags; delete; list all repositories
//	resourceNames: [team/app]              # the repository
//
// A repository whose name begins with a namespace, as team/app does, is asked about in that namespace, so that a Role and a
// RoleBinding there suffice; any other for the whole cluster. Nodes read everything, and write nothing.
package imageaccess
