// Geometry: polygons, strategies and an R-tree.
#include <boost/geometry.hpp>
#include <boost/geometry/geometries/point_xy.hpp>
#include <boost/geometry/geometries/polygon.hpp>
#include <boost/geometry/index/rtree.hpp>

namespace bg = boost::geometry;
using Point = bg::model::d2::point_xy<double>;
using Polygon = bg::model::polygon<Point>;

double area(const Polygon &polygon) { return bg::area(polygon); }
bool nearby(const bg::index::rtree<Point, bg::index::quadratic<16>> &tree, const Point &point) {
    return tree.qbegin(bg::index::nearest(point, 1)) != tree.qend();
}
