// Graph: named parameters, property maps and a shortest path.
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/dijkstra_shortest_paths.hpp>
#include <boost/graph/strong_components.hpp>
#include <vector>

using Weights = boost::property<boost::edge_weight_t, int>;
using Graph = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS, boost::no_property, Weights>;

std::vector<int> distances(const Graph &graph) {
    std::vector<int> result(boost::num_vertices(graph));
    boost::dijkstra_shortest_paths(graph, boost::vertex(0, graph), boost::distance_map(result.data()));
    return result;
}
