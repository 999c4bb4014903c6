"""The Cypher statements that we send.

Cypher takes no parameters for the names of labels, types and properties, so these are written into the text; all of
them have passed `Identifier`. Values are always parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planmesh.store.neo4j.options import Neo4jOptions

SWAP_ROWS: Final = 10_000
"""Rows of one transaction while a large replacement is put in place."""

MARKER: Final = "PlanmeshReplacement"
"""Label of the node that marks a graph as being replaced: it holds the graph's label, a token, and the step reached."""

LOCK: Final = "PlanmeshLock"
"""Label of a node that a replacement creates in a transaction that stays open and is never committed. Another
replacement waits for it, and the lock disappears as soon as its holder does."""

POSITION: Final = "PlanmeshPosition"
"""Label of the node that holds a graph's label and `version`, that of the last batch of changes applied to it."""

STAGED_SUFFIX: Final = "__next"
"""A replacement's nodes carry the graph's label with this suffix until they take the graph's place."""

IN_BATCHES: Final = f" IN TRANSACTIONS OF {SWAP_ROWS} ROWS"


@dataclass(frozen=True, slots=True)
class SwapStep:
    """A step that puts a replacement in place. Run it in batches when `alone`, or in a transaction with others.

    A step may be repeated after a failure. Steps with a guard do nothing once another replacement's token is set.
    """

    text: str

    def statement(self, *, in_batches: bool) -> str:
        """Return the Cypher, as batches of SWAP_ROWS rows or for a surrounding transaction."""
        return self.text + (IN_BATCHES if in_batches else "")


class Statements:
    """The statements for one graph in a database."""

    def __init__(self, options: Neo4jOptions) -> None:
        node, edge = f"`{options.label}`", f"`{options.edge_type}`"
        staged = f"`{options.label}{STAGED_SUFFIX}`"
        id_, cost = f"`{options.id_property}`", f"`{options.cost_property}`"
        domain, region = f"`{options.domain_property}`", f"`{options.region_property}`"

        self.constraints = [
            (options.label, options.id_property, f"FOR (n:{node}) REQUIRE n.{id_} IS UNIQUE"),
            (f"{options.label}{STAGED_SUFFIX}", options.id_property, f"FOR (n:{staged}) REQUIRE n.{id_} IS UNIQUE"),
            (MARKER, "label", f"FOR (m:{MARKER}) REQUIRE m.label IS UNIQUE"),
            (LOCK, "label", f"FOR (m:{LOCK}) REQUIRE m.label IS UNIQUE"),
            (POSITION, "label", f"FOR (m:{POSITION}) REQUIRE m.label IS UNIQUE"),
        ]
        self.count_nodes = f"MATCH (n:{node}) RETURN count(n)"
        self.count_edges = f"MATCH (:{node})-[r:{edge}]->(:{node}) RETURN count(r)"
        self.read_nodes = (
            f"MATCH (n:{node}) RETURN n.{id_}, n.{domain}, n.{region}, "
            f"CASE WHEN n.{id_} IS :: STRING NOT NULL THEN null ELSE elementId(n) END"
        )
        self.read_edges = (
            f"MATCH (a:{node})-[r:{edge}]->(b:{node}) RETURN a.{id_}, b.{id_}, r.{cost}, "
            f"CASE WHEN r.{cost} IS :: FLOAT NOT NULL THEN null ELSE elementId(r) END"
        )
        self.get_node = f"MATCH (n:{node} {{{id_}: $id}}) RETURN n.{id_}, n.{domain}, n.{region}"
        self.first_unknown = self._first_unknown(node, id_)
        self.first_unknown_staged = self._first_unknown(staged, id_)
        self.upsert_nodes = self._merge_nodes(node, id_, domain, region)
        self.stage_nodes = self._merge_nodes(staged, id_, domain, region)
        ends = f"MATCH (a:{node} {{{id_}: row[0]}}) MATCH (b:{node} {{{id_}: row[1]}})"
        self.upsert_edges = f"UNWIND $rows AS row {ends} MERGE (a)-[r:{edge}]->(b) SET r.{cost} = row[2]"
        self.stage_edges = (
            f"UNWIND $rows AS row {ends.replace(node, staged)} MERGE (a)-[r:{edge}]->(b) "
            f"ON CREATE SET r.{cost} = row[2] "
            f"ON MATCH SET r.{cost} = CASE WHEN row[2] < r.{cost} THEN row[2] ELSE r.{cost} END"
        )
        self.delete_nodes = f"UNWIND $ids AS id MATCH (n:{node} {{{id_}: id}}) DETACH DELETE n"
        self.delete_edges = f"UNWIND $rows AS row {ends} MATCH (a)-[r:{edge}]->(b) DELETE r"
        self.frontier = {
            "out": self._frontier(node, id_, f"-[:{edge}]->"),
            "in": self._frontier(node, id_, f"<-[:{edge}]-"),
            "both": self._frontier(node, id_, f"-[:{edge}]-"),
        }
        self.gds_path = (
            f"MATCH (a:{node} {{{id_}: $start}}) MATCH (b:{node} {{{id_}: $goal}}) "
            "CALL gds.shortestPath.dijkstra.stream($projection, "
            "{sourceNode: a, targetNode: b, relationshipWeightProperty: 'cost'}) YIELD nodeIds "
            f"RETURN [node IN gds.util.asNodes(nodeIds) | node.{id_}]"
        )
        self.apoc_path = (
            f"MATCH (a:{node} {{{id_}: $start}}) MATCH (b:{node} {{{id_}: $goal}}) "
            "CALL apoc.algo.dijkstra(a, b, $types, $cost_property) YIELD path "
            f"RETURN [node IN nodes(path) | CASE WHEN node:{node} THEN node.{id_} END] LIMIT 1"
        )
        is_sound = (
            f"(r.{cost} IS :: FLOAT NOT NULL OR r.{cost} IS :: INTEGER NOT NULL) AND r.{cost} >= 0 AND "
            f"r.{cost} <= $cost_max"
        )
        edges = f"MATCH (a:{node})-[r:{edge}]->(b:{node}) WHERE"
        shown_edge = f"RETURN a.{id_}, b.{id_}, toStringOrNull(r.{cost}) LIMIT 1"
        self.bad_cost = f"{edges} NOT ({is_sound}) {shown_edge}"
        in_steps = f"toFloat(r.{cost}) / $step"
        self.fine_cost = f"{edges} r.{cost} < $coarse AND abs({in_steps} - round({in_steps})) > $slack {shown_edge}"
        self.step_costs = (
            f"UNWIND range(0, size($ids) - 2) AS step MATCH (a:{node} {{{id_}: $ids[step]}}) "
            f"MATCH (b:{node} {{{id_}: $ids[step + 1]}}) MATCH (a)-[r:{edge}]->(b) "
            f"WITH step, min(r.{cost}) AS cost ORDER BY step RETURN cost"
        )
        self.drop_staged = f"MATCH (n:{staged}) CALL (n) {{ DETACH DELETE n }}{IN_BATCHES}"
        self.count_all_edges = f"MATCH ()-[r:{edge}]->() RETURN count(r)"
        self.swap = self._swap(node, staged, edge, id_, cost, domain, region)

    show_constraints = (
        "SHOW CONSTRAINTS YIELD type, labelsOrTypes, properties "
        "WHERE type IN ['UNIQUENESS', 'NODE_KEY', 'NODE_PROPERTY_UNIQUENESS'] RETURN labelsOrTypes[0], properties"
    )
    lock = f"MERGE (l:{LOCK} {{label: $label}})"
    take_position = f"MERGE (p:{POSITION} {{label: $label}}) SET p.taken = true REMOVE p.taken"
    """Lock the position until the transaction ends: what changes it, or the graph with it, waits for each other."""

    get_position = (
        f"OPTIONAL MATCH (p:{POSITION} {{label: $label}}) "
        f"RETURN EXISTS {{ MATCH (m:{MARKER} {{label: $label}}) WHERE m.step >= 0 }}, p.version"
    )
    set_position = f"MERGE (p:{POSITION} {{label: $label}}) SET p.version = $version"
    begin = (
        f"{take_position} WITH p MERGE (m:{MARKER} {{label: $label}}) "
        "SET m.token = $token, m.position = CASE WHEN m.step >= 0 THEN m.position ELSE $position END, "
        "m.step = coalesce(m.step, -1) RETURN m.step"
    )
    """Take over what an earlier replacement may have left; a step of 0 or more means it was being put in place."""

    guard = f"MATCH (m:{MARKER} {{label: $label, token: $token}}) RETURN m.step"
    set_step = (
        f"{take_position} WITH p MATCH (m:{MARKER} {{label: $label, token: $token}}) SET m.step = $step RETURN m.step"
    )
    end = (
        f"MATCH (m:{MARKER} {{label: $label, token: $token}}) MERGE (p:{POSITION} {{label: $label}}) "
        "SET p.version = coalesce(m.position, 0) DELETE m RETURN 1"
    )
    drop_marker = f"MATCH (m:{MARKER} {{label: $label, token: $token}}) DELETE m RETURN 1"
    marked = f"MATCH (m:{MARKER} {{label: $label}}) RETURN m.step"
    swapping = f"MATCH (m:{MARKER} {{label: $label}}) WHERE m.step >= 0 RETURN m.step"

    @staticmethod
    def _merge_nodes(label: str, id_: str, domain: str, region: str) -> str:
        return f"UNWIND $rows AS row MERGE (n:{label} {{{id_}: row[0]}}) SET n.{domain} = row[1], n.{region} = row[2]"

    @staticmethod
    def _first_unknown(label: str, id_: str) -> str:
        return f"UNWIND $ids AS id WITH id WHERE NOT EXISTS {{ MATCH (:{label} {{{id_}: id}}) }} RETURN id LIMIT 1"

    @staticmethod
    def _frontier(node: str, id_: str, arrow: str) -> str:
        return f"UNWIND $ids AS id MATCH (:{node} {{{id_}: id}}){arrow}(n:{node}) RETURN DISTINCT n.{id_}"

    @staticmethod
    def _swap(node: str, staged: str, edge: str, id_: str, cost: str, domain: str, region: str) -> list[SwapStep]:
        """Return the steps that replace the old nodes and edges by the staged ones.

        A node that stays keeps its other properties and relationships and gets the new domain and region. A new node
        only changes its label, so its edges need not be written again.
        """
        guard = f"MATCH (:{MARKER} {{label: $label, token: $token}}) WITH 1 AS held"
        same = f"(:{staged} {{{id_}: a.{id_}}})-[:{edge}]->(:{staged} {{{id_}: b.{id_}}})"
        known = f"MATCH (x:{node} {{{id_}: a.{id_}}}) MATCH (y:{node} {{{id_}: b.{id_}}})"
        put = f"MERGE (x)-[r:{edge}]->(y) SET r.{cost} = s.{cost}"
        gone = f"WHERE NOT EXISTS {{ MATCH (:{staged} {{{id_}: n.{id_}}}) }}"
        new = f"WHERE NOT EXISTS {{ MATCH (:{node} {{{id_}: n.{id_}}}) }}"
        # Look-ups by id happen in the inner transaction: if the outer one locked an index entry, the inner one would
        # wait for ever.
        return [
            SwapStep(f"MATCH (n:{node}) CALL (n) {{ {guard} {gone} DETACH DELETE n }}"),
            SwapStep(
                f"MATCH (a:{node})-[r:{edge}]->(b:{node}) "
                f"CALL (a, r, b) {{ {guard} WHERE NOT EXISTS {{ MATCH {same} }} DELETE r }}"
            ),
            SwapStep(f"MATCH (n:{staged}) CALL (n) {{ {guard} {new} SET n:{node} REMOVE n:{staged} }}"),
            SwapStep(
                f"MATCH (a:{staged})-[s:{edge}]->(b) WHERE b:{staged} OR b:{node} "
                f"CALL (a, s, b) {{ {guard} {known} {put} }}"
            ),
            SwapStep(f"MATCH (a:{node})-[s:{edge}]->(b:{staged}) CALL (a, s, b) {{ {guard} {known} {put} }}"),
            SwapStep(
                f"MATCH (s:{staged}) CALL (s) {{ {guard} MATCH (n:{node} {{{id_}: s.{id_}}}) "
                f"SET n.{domain} = s.{domain}, n.{region} = s.{region} DETACH DELETE s }}"
            ),
        ]
