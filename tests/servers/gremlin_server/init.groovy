// Cosmos DB indexes everything; a TinkerGraph what it is told to.
// (Its rollback fails when only one kind of element has an index.)
if (graph.class.simpleName.startsWith("Tinker")) {
  graph.createIndex("id", Vertex.class)
  graph.createIndex("no such property", Edge.class)
}
def globals = [:]
globals << [g: traversal().withEmbedded(graph)]
globals
