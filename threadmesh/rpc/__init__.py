"""The gRPC kit: every server and every channel of the mesh is made here, so that all behave alike."""
