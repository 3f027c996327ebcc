"""The command line `threadmesh`: starts the mesh on one machine, talks to it and says what is wrong with it."""
